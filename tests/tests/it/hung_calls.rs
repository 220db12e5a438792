//! A call that hangs is a failure for its circuit, whichever layer ends it, and whatever is in between.
//!
//! There is no timeout inside the circuit here. The circuit only sees the call being dropped.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop::{
    CircuitBreaker, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Deadline, FallbackChain, FallbackLayer,
    OnDrop, Provider, RetryLayer, SetBy, TimeoutLayer, name,
    vocabulary::scope::{InScope, Scope, handle},
};
use backstop_tests::http::{Server, get, read};
use tokio::{sync::Notify, time::Instant};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const TOTAL: Duration = Duration::from_millis(400);

/// A circuit that opens after this many failures, around a service that never answers.
fn hung(
    failures: u32,
) -> (
    CircuitBreaker<impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync>,
    CircuitBreakerHandle,
) {
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(failures).build().unwrap();
    let circuit = breaker.handle();
    (breaker.layer(service_fn(|_: Request| std::future::pending())), circuit)
}

fn bestsellers() -> FallbackLayer<Request, Response> {
    let chain = FallbackChain::builder("recommendations")
        .total(TOTAL)
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    FallbackLayer::new(name!("ml_service"), chain)
}

/// Two calls through `$between`, which the end of the primary's share ends, and a third one, which the circuit refuses.
macro_rules! a_fallback_ends_it {
    ($($test:ident: |$hung:ident| $between:expr;)*) => { $(
        #[tokio::test(start_paused = true)]
        async fn $test() {
            let ($hung, circuit) = hung(2);
            let stack = ServiceBuilder::new().layer(bestsellers()).service($between);
            for (failures, takes) in [(1, TOTAL / 2), (0, TOTAL / 2), (0, Duration::ZERO)] {
                let started = Instant::now();
                let answer = stack.clone().oneshot(get("/")).await;
                assert_eq!(read(answer.unwrap()).await.1, "the usual");
                assert_eq!(started.elapsed(), takes);
                assert_eq!(circuit.counts().failures, failures, "cleared when the circuit opens");
            }
            assert_eq!(circuit.state(), CircuitState::Open);
        }
    )* };
}

a_fallback_ends_it! {
    a_fallback_ends_it_directly: |hung| hung;
    a_fallback_ends_it_through_a_limit: |hung| ServiceBuilder::new().concurrency_limit(1).service(hung);
    a_fallback_ends_it_through_a_buffer: |hung| ServiceBuilder::new().buffer(1).service(hung);
    a_fallback_ends_it_through_a_box: |hung| ServiceBuilder::new().boxed_clone().service(hung);
    a_fallback_ends_it_through_a_router: |hung| Router::new().fallback_service(hung);
    a_fallback_ends_it_through_another_error: |hung| ServiceBuilder::new().map_err(BoxError::from).service(hung);
    a_fallback_ends_it_through_a_retry:
        |hung| ServiceBuilder::new().layer(RetryLayer::new(name!("ml_service"))).service(hung);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_further_out_ends_it() {
    let (hung, circuit) = hung(2);
    let timeout = TimeoutLayer::builder("ml_service").limit(TOTAL).build().unwrap();
    let stack = ServiceBuilder::new().layer(timeout).service(hung);
    for _ in 0..2 {
        let ended = stack.clone().oneshot(get("/")).await.unwrap();
        assert_eq!(ended.status(), StatusCode::GATEWAY_TIMEOUT);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_chain_ends_a_provider_that_hangs() {
    let (replica, circuit) = hung(2);
    let chain = FallbackChain::builder("recommendations")
        .total(TOTAL)
        .provider(Provider::service(name!("replica"), replica))
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let fails = service_fn(|_: Request| async { Ok::<_, Infallible>(StatusCode::BAD_GATEWAY.into_response()) });
    let stack = ServiceBuilder::new().layer(FallbackLayer::new(name!("ml_service"), chain)).service(fails);
    for _ in 0..2 {
        assert_eq!(read(stack.clone().oneshot(get("/")).await.unwrap()).await.1, "the usual");
    }
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_chain_without_http_ends_what_hangs_in_a_function() {
    let (hung, circuit) = hung(2);
    let chain: FallbackChain<(), StatusCode> = FallbackChain::builder("recommendations")
        .total(TOTAL)
        .provider(Provider::value(name!("live"), move || {
            let hung = hung.clone();
            async move { hung.oneshot(get("/")).await.map(|answer| answer.status()) }
        }))
        .provider(Provider::value(name!("default"), || async { StatusCode::NO_CONTENT }))
        .build()
        .unwrap();
    for _ in 0..2 {
        assert_eq!(chain.execute(()).await.unwrap().source, "default");
    }
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_callers_limit_that_is_longer_than_ours_excuses_nothing() {
    let (hung, circuit) = hung(1);
    let stack = ServiceBuilder::new().layer(bestsellers()).service(hung);
    let patient = Scope::narrowed(Deadline::after(TOTAL, SetBy::Caller)).enter(handle);
    stack.oneshot(get("/")).in_scope(patient).await.unwrap();
    assert_eq!(circuit.state(), CircuitState::Open);
}

/// Notifies when the call that holds it is dropped.
struct Gone(Arc<Notify>);

impl Drop for Gone {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_ends_its_call_which_counts_as_was_configured() {
    for (on_drop, state) in [(OnDrop::Failure, CircuitState::Open), (OnDrop::Ignore, CircuitState::Closed)] {
        let breaker =
            CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).on_drop(on_drop).build().unwrap();
        let circuit = breaker.handle();
        let (called, gone) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (calls, goes) = (Arc::clone(&called), Arc::clone(&gone));
        let handler = move || {
            let gone = Gone(Arc::clone(&goes));
            calls.notify_one();
            async move {
                std::future::pending::<()>().await;
                drop(gone);
            }
        };
        let server = Server::start(Router::new().fallback(handler).layer(breaker)).await;
        // The slower branch is dropped, with its connection.
        tokio::select! {
            _ = server.get("/") => unreachable!("it hangs"),
            () = called.notified() => {}
        }
        gone.notified().await;
        drop(server);
        assert_eq!(circuit.state(), state, "{on_drop:?}");
    }
}
