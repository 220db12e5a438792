//! The whole stack in paused time: whose limit ended a call, and whether that counts against the service.
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
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Deadline, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Provider, Rejection, RetryLayer, SetBy, TimeoutLayer, name, scope, scope::InScope,
    vocabulary::Scope,
};
use backstop_tests::http::{get, header, read, status};
use tokio::time::{Instant, sleep};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const MS: Duration = Duration::from_millis(1);
const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// A service that hangs.
fn hung() -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + 'static {
    service_fn(|_: Request| std::future::pending())
}

/// A circuit that opens after `failures`, for a second.
fn breaker(failures: u32) -> (CircuitBreakerLayer, CircuitBreakerHandle) {
    let wait = Duration::from_secs(1);
    let layer = CircuitBreakerLayer::builder("ml_service").consecutive_failures(failures).wait(wait).build().unwrap();
    let circuit = layer.handle();
    (layer, circuit)
}

fn timeout(limit: Duration) -> TimeoutLayer {
    TimeoutLayer::builder("ml_service").limit(limit).build().unwrap()
}

/// A chain with a total of 800 ms, and the bestsellers as its provider.
fn instead() -> FallbackLayer<Request, Response> {
    let chain = FallbackChain::builder("recommendations")
        .total(800 * MS)
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    FallbackLayer::new(name!("ml_service"), chain)
}

async fn gives_the_usual<S>(stack: &S)
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone,
{
    let (head, body) = read(stack.clone().oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"));
}

#[tokio::test(start_paused = true)]
async fn hung_calls_open_the_circuit_by_the_timeout_inside() {
    let (breaker, circuit) = breaker(5);
    let stack = ServiceBuilder::new().layer(instead()).layer(breaker).layer(timeout(100 * MS)).service(hung());
    for failures in 1..5 {
        gives_the_usual(&stack).await;
        assert_eq!(circuit.counts().failures, failures);
    }
    gives_the_usual(&stack).await;
    assert_eq!(circuit.state(), CircuitState::Open);
    let started = Instant::now();
    gives_the_usual(&stack).await;
    assert_eq!(started.elapsed(), Duration::ZERO, "nobody waits for what is known to hang");
}

#[tokio::test(start_paused = true)]
async fn hung_calls_open_the_circuit_by_the_fallbacks_share_where_there_is_no_timeout() {
    let (breaker, circuit) = breaker(5);
    let stack = ServiceBuilder::new().layer(instead()).layer(breaker).service(hung());
    for failures in 1..5 {
        let started = Instant::now();
        gives_the_usual(&stack).await;
        assert_eq!(started.elapsed(), 400 * MS, "the primary's half");
        assert_eq!(circuit.counts().failures, failures);
    }
    gives_the_usual(&stack).await;
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn hung_calls_open_the_circuit_by_the_retrys_total_where_there_is_no_timeout() {
    let (breaker, circuit) = breaker(4);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    // Of two attempts, the first fails and the second hangs.
    let service = service_fn(move |_: Request| {
        let hangs = counted.fetch_add(1, Ordering::Relaxed) % 2 == 1;
        async move {
            if hangs {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(status(DOWN))
        }
    });
    let retry = RetryLayer::builder("ml_service").total(2000 * MS).build().unwrap();
    let stack = ServiceBuilder::new().layer(retry).layer(breaker).service(service);
    for failures in [2, 4] {
        let started = Instant::now();
        let answer = stack.clone().oneshot(get("/")).await.unwrap();
        assert_eq!((answer.status(), started.elapsed()), (DOWN, 2000 * MS), "the answer of before, at the total");
        assert_eq!(calls.load(Ordering::Relaxed), failures);
        assert_eq!(circuit.state() == CircuitState::Open, failures == 4, "{circuit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_callers_shorter_deadline_opens_nothing_with_a_timeout_or_without() {
    let (breaker, circuit) = breaker(1);
    let chain = || ServiceBuilder::new().layer(instead()).layer(RetryLayer::new(name!("ml_service")));
    let with = chain().layer(breaker.clone()).layer(timeout(100 * MS)).service(hung());
    let without = chain().layer(breaker).service(hung());
    for _ in 0..50 {
        let mut scope = Scope::narrowed(Deadline::after(10 * MS, SetBy::Caller));
        let handle = scope.enter(scope::handle);
        let started = Instant::now();
        gives_the_usual_in_time(with.clone(), handle.clone()).await;
        assert_eq!(started.elapsed(), 5 * MS, "half of what the caller allowed");
        gives_the_usual_in_time(without.clone(), handle).await;
    }
    assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
}

async fn gives_the_usual_in_time<S>(stack: S, scope: scope::ScopeHandle)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (_, body) = read(stack.oneshot(get("/")).in_scope(scope).await.unwrap()).await;
    assert_eq!(body, "the usual");
}

#[tokio::test(start_paused = true)]
async fn a_retry_does_not_repeat_an_open_circuits_refusal_and_gives_back_the_services_last_answer() {
    let (breaker, circuit) = breaker(2);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        let call = counted.fetch_add(1, Ordering::Relaxed) + 1;
        std::future::ready(Ok::<_, Infallible>((DOWN, format!("answer {call}")).into_response()))
    });
    let stack = ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).layer(breaker).service(service);

    let (head, body) = read(stack.clone().oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (DOWN, "answer 2"));
    assert!(head.extensions.get::<Rejection>().is_none());
    assert_eq!(circuit.state(), CircuitState::Open);

    let started = Instant::now();
    let (head, _) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert!(head.extensions.get::<Rejection>().is_some(), "the refusal itself, since the service gave nothing");
    assert_eq!(started.elapsed(), Duration::ZERO, "and at once");
    assert_eq!(calls.load(Ordering::Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_is_never_ready_is_a_failure_that_the_chain_answers() {
    let full = tower::limit::ConcurrencyLimit::new(hung(), 0);
    let stack = ServiceBuilder::new().layer(DegradationHeaderLayer::new()).layer(instead()).service(full);
    let started = Instant::now();
    let (head, body) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, &*body), (StatusCode::OK, "the usual"));
    assert_eq!(header(&head, "x-fallback-source"), Some("bestsellers"));
    assert_eq!(started.elapsed(), 400 * MS);
}

#[tokio::test(start_paused = true)]
async fn the_last_provider_always_has_time() {
    let slow = async || {
        sleep(150 * MS).await;
        "the usual"
    };
    let chain = FallbackChain::builder("recommendations")
        .total(800 * MS)
        .provider(Provider::service(name!("replica"), hung()))
        .provider(Provider::service(name!("catalog"), hung()))
        .provider(Provider::handler(name!("bestsellers"), slow))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("ml_service"), chain);
    let stack = layer.layer(backstop::Standard::new(name!("ml_service")).layer(hung()));
    let started = Instant::now();
    gives_the_usual(&stack).await;
    assert_eq!(started.elapsed(), 750 * MS, "three quarters of the total hung away");
}
