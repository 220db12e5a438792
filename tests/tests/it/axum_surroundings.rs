//! Each layer in each place where axum accepts one.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::Request,
    handler::Handler,
    http::{StatusCode, response::Parts},
    response::{IntoResponse, Response},
    routing::get as on_get,
};
use backstop::{
    CircuitBreakerLayer, DeadlineLayer, Degradation, DegradationHeaderLayer, FallbackChain, FallbackLayer, Freshness,
    Provider, Reason, Rejection, RetryLayer, TimeoutLayer, name, scope, time_left,
};
use backstop_tests::http::{get, header, read};
use tower::{Service, ServiceBuilder, ServiceExt};

/// The app with `$layer` around `$handler`, in each place. Both expressions are evaluated once per place.
macro_rules! everywhere {
    ($layer:expr, $handler:expr) => {
        [
            ("Router::layer", Router::new().route("/", on_get($handler)).layer($layer)),
            ("Router::route_layer", Router::new().route("/", on_get($handler)).route_layer($layer)),
            ("Handler::layer", Router::new().route("/", on_get($handler.layer($layer)))),
            ("MethodRouter::layer", Router::new().route("/", on_get($handler).layer($layer))),
            ("ServiceBuilder", Router::new().route("/", on_get($handler)).layer(ServiceBuilder::new().layer($layer))),
        ]
    };
}

/// A handler that fails `times` times, and the number of its calls.
fn fails(times: usize) -> (impl Fn() -> std::future::Ready<(StatusCode, &'static str)> + Clone, Arc<AtomicUsize>) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let handler = move || {
        let well = counted.fetch_add(1, Ordering::Relaxed) >= times;
        let (status, text) = if well { (StatusCode::OK, "well") } else { (StatusCode::SERVICE_UNAVAILABLE, "failed") };
        std::future::ready((status, text))
    };
    (handler, calls)
}

async fn ask(app: &mut Router) -> (Parts, String) {
    let service = <Router as ServiceExt<Request>>::ready(app).await.unwrap();
    let Ok(response): Result<Response, Infallible> = service.call(get("/")).await;
    read(response).await
}

fn instead() -> FallbackLayer<Request, Response> {
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    FallbackLayer::new(name!("ml_service"), chain)
}

#[tokio::test(start_paused = true)]
async fn a_circuit_breaker_opens_and_refuses_in_every_place() {
    let breaker =
        || CircuitBreakerLayer::builder("ml_service").consecutive_failures(2).retry_after_jitter(0.0).build().unwrap();
    let (handler, calls) = fails(usize::MAX);
    for (place, mut app) in everywhere!(breaker(), handler.clone()) {
        calls.store(0, Ordering::Relaxed);
        for _ in 0..2 {
            assert_eq!(ask(&mut app).await.1, "failed", "{place}");
        }
        let (refused, _) = ask(&mut app).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{place}");
        assert_eq!(header(&refused, "retry-after"), Some("60"), "{place}");
        let rejection = refused.extensions.get::<Rejection>().map(Rejection::reason);
        assert_eq!(rejection, Some(Reason::CIRCUIT_OPEN), "{place}");
        assert_eq!(calls.load(Ordering::Relaxed), 2, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry_repeats_in_every_place() {
    let (handler, calls) = fails(2);
    for (place, mut app) in everywhere!(RetryLayer::new(name!("ml_service")), handler.clone()) {
        calls.store(0, Ordering::Relaxed);
        let (head, body) = ask(&mut app).await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "well"), "{place}");
        assert_eq!(calls.load(Ordering::Relaxed), 3, "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_fallback_answers_instead_in_every_place() {
    let (handler, calls) = fails(usize::MAX);
    for (place, mut app) in everywhere!(instead(), handler.clone()) {
        calls.store(0, Ordering::Relaxed);
        let (head, body) = ask(&mut app).await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"), "{place}");
        let degradation = head.extensions.get::<Degradation>().map(Degradation::reason);
        assert_eq!(degradation, Some(Reason::status(StatusCode::SERVICE_UNAVAILABLE)), "{place}");
        assert_eq!(calls.load(Ordering::Relaxed), 1, "{place}");
    }
}

#[tokio::test]
async fn degradation_headers_tell_what_was_reported_in_every_place() {
    let handler = || async {
        scope::report(Degradation::new(name!("items"), name!("cached"), 1, Reason::ERROR, Freshness::Degraded));
        "yesterday's"
    };
    for (place, mut app) in everywhere!(DegradationHeaderLayer::new(), handler) {
        let (head, body) = ask(&mut app).await;
        assert_eq!(body, "yesterday's", "{place}");
        assert_eq!(header(&head, "x-fallback-source"), Some("cached"), "{place}");
        assert_eq!(header(&head, "x-data-freshness"), Some("degraded"), "{place}");
        assert_eq!(header(&head, "cache-control"), Some("no-store"), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_timeout_ends_a_hung_handler_in_every_place() {
    let timeout = || TimeoutLayer::builder("ml_service").limit(Duration::from_millis(300)).build().unwrap();
    let handler = || async {
        std::future::pending::<()>().await;
        "never"
    };
    for (place, mut app) in everywhere!(timeout(), handler) {
        let started = tokio::time::Instant::now();
        let (head, _) = ask(&mut app).await;
        assert_eq!(head.status, StatusCode::GATEWAY_TIMEOUT, "{place}");
        assert_eq!(started.elapsed(), Duration::from_millis(300), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_ends_a_hung_handler_that_knew_it_in_every_place() {
    let deadline = || DeadlineLayer::builder("edge").limit(Duration::from_millis(300)).build().unwrap();
    let handler = || async {
        if time_left() != Some(Duration::from_millis(300)) {
            return "didn't know";
        }
        std::future::pending::<()>().await;
        "never"
    };
    for (place, mut app) in everywhere!(deadline(), handler) {
        let started = tokio::time::Instant::now();
        let (head, _) = ask(&mut app).await;
        assert_eq!(head.status, StatusCode::GATEWAY_TIMEOUT, "{place}");
        assert_eq!(started.elapsed(), Duration::from_millis(300), "{place}");
    }
}

#[tokio::test(start_paused = true)]
async fn all_layers_as_one_stack_behave_in_every_place() {
    let circuit = CircuitBreakerLayer::builder("ml_service").consecutive_failures(4).build().unwrap();
    let stack = || {
        ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(instead())
            .layer(RetryLayer::new(name!("ml_service")))
            .layer(circuit.clone())
            .layer(TimeoutLayer::new(name!("ml_service")))
            .into_inner()
    };
    let (handler, calls) = fails(usize::MAX);
    for (place, mut app) in everywhere!(stack(), handler.clone()) {
        circuit.handle().reset();
        calls.store(0, Ordering::Relaxed);
        for _ in 0..3 {
            let (head, body) = ask(&mut app).await;
            assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"), "{place}");
            assert_eq!(header(&head, "x-fallback-source"), Some("bestsellers"), "{place}");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 4, "{place}: three attempts, one more, and the circuit is open");
    }
}

#[tokio::test]
async fn a_handler_that_answers_well_is_left_alone_by_all_layers() {
    let handler = || async { ([("cache-control", "max-age=60")], "well").into_response() };
    let stack = || {
        ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(instead())
            .layer(backstop::Standard::new(name!("ml_service")))
            .into_inner()
    };
    for (place, mut app) in everywhere!(stack(), handler) {
        let (head, body) = ask(&mut app).await;
        assert_eq!((head.status, &*body), (StatusCode::OK, "well"), "{place}");
        assert_eq!(header(&head, "cache-control"), Some("max-age=60"), "{place}");
        assert_eq!(header(&head, "x-data-freshness"), None, "{place}");
    }
}
