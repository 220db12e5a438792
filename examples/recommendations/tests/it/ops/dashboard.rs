//! Whether the app exports what the dashboard and the alerts ask for. It does so after an outage.

use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::promql::{exported, missing};
use super::{promtool, text};
use crate::program::{PATIENCE, Started, get, set_fault};

/// A query of the dashboard, with its panel.
pub(super) fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&text("grafana/dashboards/recommendations.json")).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        for target in panel["targets"].as_array().into_iter().flatten() {
            assert_eq!(target["datasource"]["uid"], "prometheus", "{title}");
            // Grafana's own variable.
            let query = target["expr"].as_str().unwrap().replace("$__rate_interval", "1m");
            assert!(!query.contains('$'), "{query}");
            queries.push((title.to_owned(), query));
        }
    }
    assert!(queries.len() > 20, "{queries:?}");
    let annotation = dashboard["annotations"]["list"][0]["expr"].as_str().unwrap();
    queries.push(("annotation".to_owned(), annotation.to_owned()));
    queries
}

/// The body of `/metrics`.
pub(super) async fn metrics(app: &str) -> String {
    let answer = get(app, "/metrics").await;
    answer.split_once("\r\n\r\n").unwrap().1.to_owned()
}

async fn order(app: &str, key: &str) {
    let answer = crate::program::order(app, key).await;
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
}

/// Everything that the dashboard shows happens once.
pub(super) async fn outage(started: &Started) {
    let Started { app, admin, .. } = started;
    let pages = ["/api/recommendations/ada", "/api/dashboard/ada", "/api/exchange-rates/USD"];
    for path in pages {
        assert!(get(app, path).await.starts_with("HTTP/1.1 200 "), "{path}");
    }
    order(app, "before").await;
    for upstream in ["ml", "catalog", "rates"] {
        set_fault(admin, upstream, "hang").await;
    }
    set_fault(admin, "payment", "refuse").await;
    // More than a bulkhead has room for, while nothing is refused by a circuit yet.
    let mut crowd = JoinSet::new();
    for n in 0..300 {
        let (app, path) = (app.clone(), format!("/api/recommendations/user-{n}"));
        crowd.spawn(async move { assert!(get(&app, &path).await.starts_with("HTTP/1.1 200 ")) });
    }
    while let Some(asked) = crowd.join_next().await {
        asked.unwrap();
    }
    for _ in 0..10 {
        for path in pages {
            assert!(get(app, path).await.starts_with("HTTP/1.1 200 "), "{path}");
        }
    }
    order(app, "meanwhile").await;
}

#[tokio::test]
async fn the_app_exports_what_dashboard_and_alerts_ask_for() {
    let started = Started::start(&["--circuit-wait", "300ms"]).await;
    outage(&started).await;
    let alerts: Vec<String> = super::prometheus::expressions(&text("prometheus/alerts.yml"));
    let asked: Vec<String> = queries().into_iter().map(|(_, query)| query).chain(alerts).collect();
    let all_there = async {
        loop {
            let page = metrics(&started.app).await;
            let exported = exported(&page);
            let missing: Vec<String> = asked.iter().flat_map(|query| missing(query, &exported)).collect();
            // Nothing is exhausted or dead here, every fallback is proven, and `up` is Prometheus's own.
            let missing: Vec<_> = missing.into_iter().filter(|name| !NOT_HERE.contains(&name.as_str())).collect();
            if missing.is_empty() {
                return page;
            }
            // Queues and health are looked at every few seconds.
            eprintln!("not yet: {missing:?}");
            sleep(Duration::from_millis(200)).await;
        }
    };
    let page = timeout(PATIENCE, all_there).await.expect("some metrics never come");
    promtool(&["check", "metrics"], &page);
}

const NOT_HERE: [&str; 4] =
    ["deferred_dead_letters_total", "fallback_exhausted_total", "fallback_last_proven_seconds", "up"];
