//! However many requests are degraded, the log has a few lines.

#![allow(clippy::disallowed_methods, reason = "many callers are many tasks")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use backstop::{DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, name, standard};
use backstop_test::Logs;
use tokio::time::{advance, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn};
use tracing::Level;

/// `.ci/deep` sends 100,000.
fn requests() -> u32 {
    std::env::var("FLOOD_REQUESTS").ok().map_or(10_000, |requests| requests.parse().unwrap())
}

/// Sends a request each millisecond to a dependency that answers 503 after `takes`, and returns what is logged above `DEBUG`.
async fn lines(takes: Duration) -> Vec<String> {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let instead = FallbackChain::builder("floods")
        .provider(Provider::value(name!("static"), || async { Response::new(Body::from("the usual")) }))
        .build()
        .unwrap();
    let app = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), instead))
        .layer(standard("floods").bulkhead(|bulkhead| bulkhead.max_concurrent(10)).build().unwrap())
        .service(service_fn(move |_: Request| async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            Ok::<_, Infallible>(
                Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty()).unwrap(),
            )
        }));
    let mut running = Vec::new();
    for _ in 0..requests() {
        running.push(tokio::spawn(app.clone().oneshot(Request::new(Body::empty()))));
        advance(Duration::from_millis(1)).await;
    }
    for answer in running {
        assert_eq!(answer.await.unwrap().unwrap().headers()["x-fallback-source"], "static");
    }
    logs.events().lines()
}

#[tokio::test(start_paused = true)]
async fn an_outage_with_an_empty_budget_and_an_open_circuit_is_a_few_lines() {
    let lines = lines(Duration::ZERO).await;
    assert!((1..20).contains(&lines.len()), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_a_few_lines() {
    let lines = lines(Duration::from_millis(500)).await;
    assert!((1..20).contains(&lines.len()), "{lines:#?}");
}
