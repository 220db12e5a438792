//! A real Prometheus, which scrapes the app during an outage.

use std::fs;
use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::dashboard::{outage, queries};
use super::{file, skip};
use crate::program::{PATIENCE, Started, ask, get};

/// The expressions of a file of rules: what comes after `expr:`, on the same line or indented below it.
pub(super) fn expressions(rules: &str) -> Vec<String> {
    let mut expressions = Vec::new();
    let mut lines = rules.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim_start().strip_prefix("expr: ") else { continue };
        let indented = line.len() - line.trim_start().len();
        let mut expression = rest.trim_start_matches('|').to_owned();
        while let Some(next) = lines.next_if(|next| next.len() - next.trim_start().len() > indented) {
            expression = expression + " " + next.trim();
        }
        expressions.push(expression);
    }
    assert!(expressions.len() > 10, "{expressions:?}");
    expressions
}

struct Prometheus {
    address: String,
    _process: Child,
}

impl Prometheus {
    /// Starts one that scrapes `app`, and waits until it answers. `None` where there is none.
    async fn start(app: &str) -> Option<Self> {
        let dir = std::env::temp_dir().join(format!("backstop-prometheus-{}", std::process::id()));
        _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let config = format!(
            "global: {{ scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s }}\n\
             rule_files: [{:?}]\n\
             scrape_configs: [{{ job_name: recommendations, static_configs: [{{ targets: [\"{app}\"] }}] }}]\n",
            file("prometheus/alerts.yml")
        );
        fs::write(dir.join("prometheus.yml"), config).unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let started = Command::new("prometheus")
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.display()))
            .arg(format!("--web.listen-address={free}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn();
        let process = match started {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                skip("prometheus");
                return None;
            }
            started => started.unwrap(),
        };
        // It listens before it has read its files, and until then answers each query with a 503.
        let is_ready = async {
            while TcpStream::connect(&free).await.is_err() || !get(&free, "/-/ready").await.starts_with("HTTP/1.1 200 ")
            {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, is_ready).await.expect("Prometheus isn't ready");
        Some(Self { address: free, _process: process })
    }

    async fn api(&self, path: &str) -> Value {
        // In HTTP/1.0 there are no chunks to put together.
        let answer = ask(&self.address, &format!("GET /api/v1/{path} HTTP/1.0\r\n\r\n")).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {answer}"))
    }

    async fn query(&self, query: &str) -> Vec<Value> {
        let encoded: String = url::form_urlencoded::byte_serialize(query.as_bytes()).collect();
        let answer = self.api(&format!("query?query={encoded}")).await;
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        answer["data"]["result"].as_array().unwrap().clone()
    }
}

#[tokio::test]
async fn each_query_of_the_dashboard_has_data_after_an_outage() {
    let started = Started::start(&["--circuit-wait", "300ms"]).await;
    let Some(prometheus) = Prometheus::start(&started.app).await else { return };
    // A rate needs two samples, and what hasn't happened before has none.
    while prometheus.query("up{job=\"recommendations\"} == 1").await.is_empty() {
        sleep(Duration::from_millis(50)).await;
    }
    let queries = queries();
    let all_have_data = async {
        loop {
            outage(&started).await;
            let mut empty = Vec::new();
            for (panel, query) in &queries {
                if prometheus.query(query).await.is_empty() {
                    empty.push((panel, query));
                }
            }
            if empty.is_empty() {
                return;
            }
            eprintln!("without data so far: {empty:#?}");
            for upstream in ["ml", "catalog", "rates", "payment"] {
                crate::program::set_fault(&started.admin, upstream, "none").await;
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    timeout(2 * PATIENCE, all_have_data).await.expect("a query without data");

    let rules = prometheus.api("rules").await;
    let groups = rules["data"]["groups"].as_array().unwrap();
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() > 10, "{rules:?}");
    for rule in rules {
        assert_eq!((&rule["health"], rule["lastError"].as_str().unwrap_or_default()), (&"ok".into(), ""), "{rule}");
    }
}
