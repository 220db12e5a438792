//! A dashboard of five parts, one of which hangs, under load over real sockets.

use std::{env, time::Duration};

use axum::{Router, extract::State, routing::get};
use backstop_partial::{Aggregate, Page, RequiredPartFailed, name, part};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep},
};

use crate::common::{MS, after};

const HUNG: Duration = Duration::from_millis(100);
/// The time between two requests.
const PACE: Duration = Duration::from_millis(4);

type Sections = (u32, u32, Option<u32>, u32, Option<u32>);

async fn dashboard(State(dashboard): State<Aggregate>) -> Result<Page<Sections>, RequiredPartFailed> {
    let call = |name, ms| part(name, after(MS * ms, Ok::<_, &str>(ms)));
    let parts = (
        call(name!("profile"), 5).required(),
        call(name!("orders"), 20).or(0),
        part(name!("reviews"), std::future::pending::<Result<u32, &str>>()).timeout(HUNG).optional(),
        call(name!("recommendations"), 50).or_default(),
        call(name!("balance"), 2).optional(),
    );
    dashboard.gather(parts).await
}

/// `BACKSTOP_LOAD=N` sends N requests, on a machine that does nothing else, and checks the 99th percentile, too.
#[tokio::test]
async fn every_page_is_answered_while_a_part_hangs() {
    let measured: Option<usize> = env::var("BACKSTOP_LOAD").ok().map(|pages| pages.parse().unwrap());
    let pages = measured.unwrap_or(100);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    let server = tasks.spawn(async move {
        let state = Aggregate::new(name!("dashboard"));
        axum::serve(listener, Router::new().route("/", get(dashboard)).with_state(state)).await.unwrap();
        Duration::ZERO
    });
    for _ in 0..pages {
        sleep(PACE).await;
        tasks.spawn(async move {
            let started = Instant::now();
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
            assert!(answer.contains(r#""failed_services":[{"service":"reviews","reason":"timeout"}]"#), "{answer}");
            started.elapsed()
        });
    }
    let mut latencies = Vec::new();
    while latencies.len() < pages {
        latencies.push(tasks.join_next().await.unwrap().unwrap());
    }
    server.abort();
    latencies.sort_unstable();
    let p99 = latencies[(pages * 99).div_ceil(100) - 1];
    println!("p99 {p99:?}");
    assert!(measured.is_none() || p99 <= HUNG + 10 * MS, "p99 {p99:?}");
}
