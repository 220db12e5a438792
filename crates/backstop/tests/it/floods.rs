//! However many requests are degraded, the log has a few lines.

#![allow(clippy::disallowed_methods, reason = "many callers are many tasks")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    http::{Response, StatusCode},
};
use backstop::{CircuitBreakerLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, name, standard};
use backstop_test::Logs;
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};
use tracing::Level;

/// `.ci/deep` sends 100,000.
fn requests() -> u32 {
    std::env::var("FLOOD_REQUESTS").ok().map_or(10_000, |requests| requests.parse().unwrap())
}

/// How the log of an outage is to be.
#[track_caller]
fn assert_few(lines: &[String]) {
    assert!((1..20).contains(&lines.len()), "{lines:#?}");
}

/// Sends the requests, one at each `interval`, to a dependency that answers 503 after `takes` while `is_down`, and returns
/// what is logged above `DEBUG`. The circuit is open for `open_for`.
async fn lines(
    interval: Duration,
    takes: Duration,
    is_down: impl Fn() -> bool + Clone + Send + 'static,
    open_for: Duration,
) -> Vec<String> {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let instead = FallbackChain::builder("floods")
        .provider(Provider::value(name!("static"), || async { Response::new(Body::from("the usual")) }))
        .build()
        .unwrap();
    let ml = standard("floods")
        .bulkhead(|bulkhead| bulkhead.max_concurrent(10))
        .circuit_breaker(|breaker| breaker.wait(open_for))
        .build()
        .unwrap();
    let app = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), instead))
        .layer(ml)
        .service(service_fn(move |_: Request| {
            let status = if is_down() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
            async move {
                if !takes.is_zero() {
                    sleep(takes).await;
                }
                Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap())
            }
        }));
    let mut running = Vec::new();
    for _ in 0..requests() {
        running.push(tokio::spawn(app.clone().oneshot(Request::new(Body::empty()))));
        advance(interval).await;
    }
    let mut degraded = 0;
    for answer in running {
        let answer = answer.await.unwrap().unwrap();
        degraded += u32::from(answer.headers().get("x-fallback-source").is_some_and(|source| source == "static"));
    }
    assert!(degraded > requests() / 2, "{degraded}");
    logs.events().lines()
}

const QUARTER_OF_AN_HOUR: Duration = Duration::from_secs(900);
const INTERVAL: Duration = Duration::from_millis(1);
const OPEN_FOR: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn an_outage_with_an_empty_budget_and_an_open_circuit_is_a_few_lines() {
    assert_few(&lines(INTERVAL, Duration::ZERO, || true, OPEN_FOR).await);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_a_few_lines() {
    assert_few(&lines(INTERVAL, Duration::from_millis(500), || true, OPEN_FOR).await);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_opens_again_after_each_wait_is_a_few_lines() {
    let open_for = QUARTER_OF_AN_HOUR / 200;
    assert_few(&lines(QUARTER_OF_AN_HOUR / requests(), Duration::ZERO, || true, open_for).await);
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_closes_and_opens_all_the_time_is_a_few_lines() {
    let started = Instant::now();
    // Down for 7 s, up for 3 s, and so on.
    let is_down = move || started.elapsed().as_secs() % 10 < 7;
    let lines = lines(QUARTER_OF_AN_HOUR / requests(), Duration::ZERO, is_down, Duration::from_secs(1)).await;
    assert_few(&lines);
    assert!(lines.iter().any(|line| line.contains("left_out=")), "{lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_circuits_of_one_layer_are_a_few_lines() {
    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = CircuitBreakerLayer::builder("floods")
        .build_keyed(1_000, |request: &Request| request.uri().path().to_owned())
        .unwrap();
    let hosts = layer.layer(service_fn(async |_: Request| {
        Ok::<_, Infallible>(Response::builder().status(StatusCode::SERVICE_UNAVAILABLE).body(Body::empty()).unwrap())
    }));
    for n in 0..requests() {
        let request = Request::get(format!("/{}", n % 100)).body(Body::empty()).unwrap();
        hosts.clone().oneshot(request).await.unwrap();
    }
    assert_few(&logs.events().lines());
}

#[cfg(feature = "last-known-good")]
#[tokio::test(start_paused = true)]
async fn stale_answers_are_a_few_lines() {
    use backstop::LastKnownGoodLayer;

    let logs = Logs::up_to(Level::INFO);
    let _guard = logs.listen();
    let layer = LastKnownGoodLayer::new(name!("floods"));
    let known = layer.handle();
    let instead = FallbackChain::builder("floods")
        .provider(Provider::head(name!("cached"), move |head| known.answer(head)).only_reads())
        .build()
        .unwrap();
    let started = Instant::now();
    let app = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), instead))
        .layer(layer)
        .service(service_fn(move |_: Request| {
            let status = if started.elapsed().is_zero() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::from("7")).unwrap()) }
        }));
    let get = || Request::get("/prices").body(Body::empty()).unwrap();
    let first = app.clone().oneshot(get()).await.unwrap();
    axum::body::to_bytes(first.into_body(), 1).await.unwrap();
    for _ in 0..requests() {
        advance(INTERVAL).await;
        let answer = app.clone().oneshot(get()).await.unwrap();
        assert_eq!(answer.headers()["x-fallback-source"], "cached");
    }
    assert_few(&logs.events().lines());
}
