//! Readiness in a stack: which service is asked, which one waits, and how long.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    task::{Context, Poll, Waker},
    time::Duration,
};

use axum::{extract::Request, http::StatusCode, response::Response};
use backstop::{
    CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Deadline, DegradationHeaderLayer,
    FallbackChain, FallbackLayer, Provider, Rejection, RetryLayer, SetBy, TimeoutLayer, name, vocabulary::Scope,
};
use backstop_tests::{
    http::{get, read, status},
    strict::{Strict, strict},
};
use tokio::time::{Instant, timeout};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    Layer, Service, ServiceBuilder, ServiceExt,
    limit::{ConcurrencyLimit, GlobalConcurrencyLimitLayer},
    service_fn,
};

const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn poll_ready<S: Service<Request>>(service: &mut S) -> Poll<Result<(), S::Error>> {
    service.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// A layer whose circuit opens at the first failure, for a second.
fn breaker() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).wait(Duration::from_secs(1)).build().unwrap()
}

/// An open circuit around a service that has failed once.
async fn opened() -> (CircuitBreaker<Strict<Infallible>>, CircuitBreakerHandle) {
    let layer = breaker();
    let stack = layer.layer(strict([DOWN]));
    stack.clone().oneshot(get("/")).await.unwrap();
    assert_eq!(layer.handle().state(), CircuitState::Open);
    (stack, layer.handle())
}

/// A service without a free permit.
fn full() -> ConcurrencyLimit<Strict<Infallible>> {
    ConcurrencyLimit::new(strict([]), 0)
}

fn instead(total: Duration) -> FallbackLayer<Request, Response> {
    let chain = FallbackChain::builder("recommendations")
        .total(total)
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    FallbackLayer::new(name!("ml_service"), chain)
}

#[tokio::test(start_paused = true)]
async fn a_layers_own_state_never_makes_it_pending_or_failing() {
    // Open, isolated, and half-open with its only probe running.
    let (stack, circuit) = opened().await;
    let mut open = stack.clone();
    assert_ready_ok!(poll_ready(&mut open));
    circuit.isolate();
    assert_ready_ok!(poll_ready(&mut open));

    let (stack, circuit) = opened().await;
    tokio::time::advance(Duration::from_secs(1)).await;
    let probe = stack.clone().ready().await.unwrap().call(get("/"));
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
    let mut half_open = stack;
    assert_ready_ok!(poll_ready(&mut half_open));
    drop(probe);

    // A timeout whose limit passed while the inner service wasn't ready. It refuses in `call`.
    let limit = Duration::from_millis(300);
    let timeout = TimeoutLayer::builder("ml_service").limit(limit).build().unwrap();
    let mut timeout = timeout.layer(full());
    assert_pending!(poll_ready(&mut timeout));
    tokio::time::advance(limit).await;
    assert_ready_ok!(poll_ready(&mut timeout));
    assert_eq!(timeout.call(get("/")).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);

    // A retry with another request that waits for its next attempt, and a fallback around a service that is never ready.
    let mut retry = RetryLayer::new(name!("ml_service")).layer(strict::<Infallible>([DOWN]));
    assert_ready_ok!(poll_ready(&mut retry));
    let mut waiting = task::spawn(retry.call(get("/")));
    for _ in 0..3 {
        assert_pending!(waiting.poll());
    }
    assert_ready_ok!(poll_ready(&mut retry));
    let never = full();
    let mut fallback = instead(Duration::from_secs(1)).layer(never);
    assert_ready_ok!(poll_ready(&mut fallback));

    let mut labels = DegradationHeaderLayer::new().layer(strict::<Infallible>([]));
    assert_ready_ok!(poll_ready(&mut labels));
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_refuses_without_asking_the_service_for_readiness() {
    let service = strict::<Infallible>([DOWN]);
    let seen = service.clone();
    let layer = breaker();
    let stack = ServiceBuilder::new().layer(layer).service(service);
    stack.clone().oneshot(get("/")).await.unwrap();
    let asked = seen.readiness_polls();
    for _ in 0..3 {
        let refused = stack.clone().oneshot(get("/")).await.unwrap();
        assert!(refused.extensions().get::<Rejection>().is_some());
    }
    assert_eq!((seen.readiness_polls(), seen.calls()), (asked, 1));
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_behind_a_full_limit_to_be_refused() {
    let layer = breaker();
    layer.handle().isolate();
    let stack = ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).layer(layer).service(full());
    let started = Instant::now();
    let refused = timeout(Duration::from_secs(1), stack.oneshot(get("/"))).await.unwrap().unwrap();
    assert!(refused.extensions().get::<Rejection>().is_some());
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn past_its_deadline_a_request_is_refused_without_calling_the_service() {
    let service = strict::<Infallible>([]);
    let seen = service.clone();
    let mut stack = TimeoutLayer::new(name!("ml_service")).layer(service);
    <_ as ServiceExt<Request>>::ready(&mut stack).await.unwrap();
    let mut scope = Scope::narrowed(Deadline::after(Duration::ZERO, SetBy::Caller));
    let refused = scope.enter(|| stack.call(get("/"))).await.unwrap();
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(seen.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_primarys_permit_and_for_a_providers_count_into_the_total() {
    let provider = full();
    let chain = FallbackChain::builder("recommendations")
        .total(Duration::from_millis(300))
        .provider(Provider::service(name!("replica"), provider))
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .layer(backstop::Standard::new(name!("ml_service")))
        .service(full());
    let started = Instant::now();
    let (head, body) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"));
    // The primary gets a third, the first provider half of the rest, and the last one answers at once.
    assert_eq!(started.elapsed(), Duration::from_millis(200));
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_an_attempts_permit_counts_into_its_timeout() {
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::builder("ml_service").limit(Duration::from_millis(300)).build().unwrap())
        .service(full());
    let started = Instant::now();
    let refused = stack.oneshot(get("/")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(started.elapsed(), Duration::from_millis(300));
}

#[tokio::test(start_paused = true)]
async fn behind_a_tripped_circuit_a_second_attempt_hands_back_the_first_answer() {
    let service = strict::<Infallible>([DOWN]);
    let seen = service.clone();
    let stack = ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).layer(breaker()).service(service);
    let answer = stack.oneshot(get("/")).await.unwrap();
    assert_eq!(answer.status(), DOWN);
    assert!(answer.extensions().get::<Rejection>().is_none(), "the service's own answer, and not the refusal");
    assert_eq!(seen.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn behind_a_full_service_a_second_attempt_hands_back_the_first_answer() {
    let limit = GlobalConcurrencyLimitLayer::new(1);
    let thief = limit.layer(service_fn(|_: Request| std::future::pending::<Result<Response, Infallible>>()));
    let retry = RetryLayer::builder("ml_service").total(Duration::from_secs(2)).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(retry)
        .layer(limit)
        .service(service_fn(|_: Request| async { Ok::<_, Infallible>(status(DOWN)) }));
    let started = Instant::now();
    let mut answer = task::spawn(stack.oneshot(get("/")));
    // The first attempt has given its permit back, and the retry waits for the second.
    assert_pending!(answer.poll());
    let mut stolen = task::spawn(thief.oneshot(get("/")));
    assert_pending!(stolen.poll());

    assert_eq!(answer.await.unwrap().status(), DOWN);
    assert_eq!(started.elapsed(), Duration::from_secs(2), "at the retry's total, and not later");
}
