//! Injected faults inside of the other layers: the caller gets what the stack promises, and nothing injected stays.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, time::Duration};

use axum::{
    body::Body,
    extract::Request,
    response::{IntoResponse, Response},
};
use backstop::{
    CircuitBreakerLayer, CircuitState, Commit, DegradationHeaderLayer, FallbackChain, FallbackLayer, Fault,
    FaultHandle, FaultLayer, FaultRun, Feature, FeatureLayer, Features, Health, LastKnownGoodLayer, Level, Provider,
    RetryLayer, TimeoutLayer,
    fault::{Ended, Refusal},
    feature, name,
};
use backstop_tests::http::{get, header, read};
use http::{StatusCode, header::CACHE_CONTROL};
use tokio::time::advance;
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

static RECS: Feature = feature!("recs");

const SECOND: Duration = Duration::from_secs(1);

fn run(fault: impl Into<Fault>) -> FaultRun {
    FaultRun::new(fault, 1.0, "ada", "a game day")
}

/// Faults for which a stack has another answer.
fn faults() -> [Fault; 6] {
    [
        Fault::Error,
        Fault::status(StatusCode::BAD_GATEWAY),
        Fault::delay(30 * SECOND),
        Fault::Hang,
        Fault::Reset,
        Fault::truncated_body(3),
    ]
}

/// An edge with stored answers, a feature, a retry, a timeout, and faults in the place of the dependency.
struct Shop {
    stack: BoxCloneSyncService<Request, Response, Infallible>,
    faults: FaultHandle,
    features: Features,
    known: LastKnownGoodLayer,
}

impl Shop {
    fn new() -> Self {
        let faults = FaultLayer::builder("recs").arm().max_share(1.0).without_health().build().unwrap();
        let features = Features::builder().declare(RECS.standard()).build().unwrap();
        let known = LastKnownGoodLayer::new(name!("recs"));
        let stored = known.handle();
        let instead = FallbackChain::builder("recs")
            .provider(Provider::head(name!("cached"), move |head| stored.answer::<Body>(head)))
            .provider(Provider::value(name!("sorry"), || async { "we are sorry".into_response() }))
            .commit_on(Commit::Complete { max_bytes: 1024 })
            .build()
            .unwrap();
        let stack = ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(FallbackLayer::new(name!("live"), instead))
            .layer(FeatureLayer::new(features.gate(&RECS).unwrap()))
            .layer(known.clone())
            .layer(RetryLayer::new(name!("recs")))
            .layer(TimeoutLayer::new(name!("recs")))
            .layer(faults.clone())
            .service(service_fn(|_: Request| async { Ok::<_, Infallible>(the_list()) }));
        Self { stack: BoxCloneSyncService::new(stack), faults: faults.handle(), features, known }
    }

    /// The source of the answer, unless it is the primary, and its text.
    async fn ask(&self) -> (Option<String>, String) {
        let (head, body) = read(self.stack.clone().oneshot(get("/list")).await.unwrap()).await;
        (header(&head, "x-fallback-source").map(str::to_owned), body)
    }
}

fn the_list() -> Response {
    ([(CACHE_CONTROL, "max-age=60")], "the list").into_response()
}

fn by(source: &str, text: &str) -> (Option<String>, String) {
    (Some(source.to_owned()), text.to_owned())
}

fn by_the_primary() -> (Option<String>, String) {
    (None, "the list".to_owned())
}

#[tokio::test(start_paused = true)]
async fn callers_get_the_stored_answer_no_feature_degrades_and_all_is_as_before_afterwards() {
    for fault in faults() {
        let shop = Shop::new();
        assert_eq!(shop.ask().await, by_the_primary());
        shop.faults.start(run(fault.clone()).until(900 * SECOND)).unwrap();
        // More than would degrade the feature.
        for _ in 0..8 {
            assert_eq!(shop.ask().await, by("cached", "the list"), "{fault:?}");
            assert!(shop.faults.heartbeat(shop.faults.status().run.unwrap().id));
        }
        assert!(shop.faults.status().run.unwrap().hits >= 8, "{fault:?}");
        shop.faults.stop("ada", "seen enough").unwrap();
        assert!(shop.features.is_enabled(&RECS), "{fault:?}");
        assert_eq!(shop.ask().await, by_the_primary(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn nothing_injected_is_stored_and_nothing_stored_is_removed() {
    for fault in faults() {
        let shop = Shop::new();
        shop.faults.start(run(fault.clone())).unwrap();
        assert_eq!(shop.ask().await, by("sorry", "we are sorry"), "{fault:?}");
        assert!(shop.known.handle().is_empty(), "{fault:?}");
    }
    // An answer that came late is the dependency's own, and isn't stored either.
    let shop = Shop::new();
    shop.faults.start(run(Fault::delay(SECOND / 10))).unwrap();
    assert_eq!(shop.ask().await, by_the_primary());
    assert!(shop.known.handle().is_empty());

    // These say that what is stored is gone.
    for status in [StatusCode::NOT_FOUND, StatusCode::GONE] {
        let shop = Shop::new();
        shop.ask().await;
        shop.faults.start(run(Fault::status(status))).unwrap();
        assert_eq!(shop.ask().await, (None, String::new()), "{status}");
        shop.faults.stop("ada", "next").unwrap();
        shop.faults.start(run(Fault::Error)).unwrap();
        assert_eq!(shop.ask().await, by("cached", "the list"), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_that_were_not_injected_still_degrade_a_feature_of_the_same_stack() {
    let features = Features::builder().declare(RECS.standard()).build().unwrap();
    let faults = FaultLayer::builder("recs").arm().without_health().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FeatureLayer::new(features.gate(&RECS).unwrap()))
        .layer(faults.clone())
        .service(service_fn(|_: Request| async { Ok::<_, Infallible>(StatusCode::BAD_GATEWAY.into_response()) }));
    // A seed that hits none of the first calls.
    faults.handle().start(FaultRun::new(Fault::Error, 1e-9, "ada", "a game day").seed(7)).unwrap();
    for _ in 0..5 {
        assert!(features.is_enabled(&RECS));
        service.clone().oneshot(get("/")).await.unwrap();
    }
    assert!(!features.is_enabled(&RECS));
    assert_eq!(faults.handle().status().run.map(|run| (run.calls, run.hits)), Some((5, 0)));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_opens_by_injected_failures_and_closes_after_the_run() {
    let breaker = CircuitBreakerLayer::new(name!("recs"));
    let circuit = breaker.handle();
    let faults = FaultLayer::builder("recs").arm().max_share(1.0).without_health().build().unwrap();
    let service = ServiceBuilder::new()
        .layer(breaker)
        .layer(faults.clone())
        .service(service_fn(|_: Request| async { Ok::<_, Infallible>(the_list()) }));
    let ask = async || service.clone().oneshot(get("/")).await.unwrap().status();
    faults.handle().start(run(Fault::Error)).unwrap();
    for _ in 0..5 {
        assert_eq!(circuit.state(), CircuitState::Closed);
        assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    // The run ends by itself while the circuit waits.
    advance(120 * SECOND).await;
    for _ in 0..2 {
        assert_eq!(ask().await, StatusCode::OK);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_first_caller_without_an_answer_ends_the_run() {
    let chain = FallbackChain::builder("recs")
        .provider(Provider::from_fn(name!("replica"), |_: Request| async { StatusCode::BAD_GATEWAY.into_response() }))
        .build()
        .unwrap();
    let faults = FaultLayer::builder("recs").arm().max_share(1.0).without_health();
    let faults = faults.abort_on_exhaustion(&chain.handle()).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("live"), chain))
        .layer(faults.clone())
        .service(service_fn(|_: Request| async { Ok::<_, Infallible>(the_list()) }));
    let ask = async || service.clone().oneshot(get("/")).await.unwrap().status();
    faults.handle().start(run(Fault::Error)).unwrap();
    assert_ne!(ask().await, StatusCode::OK);
    assert_eq!(ask().await, StatusCode::OK);
    let last = faults.handle().status().last.unwrap();
    assert_eq!((last.why, last.hits), (Ended::Condition(name!("recs")), 1));
    // That episode still runs, and doesn't end the next run at once.
    faults.handle().start(run(Fault::delay(SECOND))).unwrap();
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(faults.handle().status().run.map(|run| run.hits), Some(1));
}

#[tokio::test(start_paused = true)]
async fn a_run_follows_the_level_and_the_drain_of_the_service() {
    let health = Health::builder().build().unwrap();
    let faults = FaultLayer::builder("edge").arm().max_share(1.0).health(&health).build().unwrap();
    let handle = faults.handle();
    let service = faults.layer(service_fn(|_: Request| async { Ok::<_, Infallible>(the_list()) }));
    let ask = async || service.clone().oneshot(get("/")).await.unwrap().status();
    let pin = |level| health.pin(level, 600 * SECOND, "ada", "a test").unwrap();

    pin(Level::Degraded);
    assert_eq!(handle.start(run(Fault::Error)).unwrap_err(), Refusal::Level(Level::Degraded));
    pin(Level::Healthy);
    handle.start(run(Fault::Error)).unwrap();
    assert_eq!(ask().await, StatusCode::SERVICE_UNAVAILABLE);
    pin(Level::Critical);
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(handle.status().last.unwrap().why, Ended::Level(Level::Critical));

    pin(Level::Healthy);
    handle.start(run(Fault::Error)).unwrap();
    health.drain().begin();
    assert_eq!(ask().await, StatusCode::OK);
    assert_eq!(handle.status().last.unwrap().why, Ended::Draining);
    assert_eq!(handle.start(run(Fault::Error)).unwrap_err(), Refusal::Draining);
}
