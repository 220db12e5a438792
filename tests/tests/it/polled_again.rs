//! A future that is polled after it has ended panics, as those of the standard library do. If it stayed pending, its task
//! would silently hang.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    task::{Context, Waker},
    time::Duration,
};

use axum::{
    body::Body,
    http::{Request, Response, StatusCode},
};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DeadlineLayer, FallbackChain, FallbackLayer, Provider, RetryLayer, Standard,
    TimeoutLayer, name,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};

type Answer = Result<Response<Body>, Infallible>;

fn hangs()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync {
    service_fn(|_: Request<Body>| pending::<Answer>())
}

fn fails()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync {
    service_fn(|_: Request<Body>| {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        ready(Ok(response))
    })
}

/// Calls until there is an answer, then polls once more.
async fn panics_when_polled_again<S>(mut service: S) -> bool
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let call = service.ready().await.unwrap().call(Request::new(Body::empty()));
    let mut call = pin!(call);
    call.as_mut().await.unwrap();
    let mut cx = Context::from_waker(Waker::noop());
    catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut cx).is_pending())).is_err()
}

#[tokio::test(start_paused = true)]
async fn a_retry_whose_first_attempt_answered_or_whose_last_one_did() {
    let well = service_fn(|_: Request<Body>| ready(Answer::Ok(Response::new(Body::empty()))));
    assert!(panics_when_polled_again(RetryLayer::new(name!("upstream")).layer(well)).await);
    assert!(panics_when_polled_again(RetryLayer::new(name!("upstream")).layer(fails())).await);
}

#[tokio::test(start_paused = true)]
async fn a_fallback_whose_providers_all_failed() {
    let chain = FallbackChain::builder("chain").provider(Provider::service(name!("second"), fails())).build().unwrap();
    assert!(panics_when_polled_again(FallbackLayer::new(name!("first"), chain).layer(fails())).await);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_circuit_breaker_and_of_a_bulkhead() {
    let circuit = CircuitBreakerLayer::new(name!("upstream"));
    circuit.handle().isolate();
    assert!(panics_when_polled_again(circuit.layer(hangs())).await);

    let bulkhead =
        BulkheadLayer::builder("upstream").max_concurrent(1).max_wait(Duration::from_millis(1)).build().unwrap();
    let mut service = bulkhead.layer(hangs());
    let mut first = pin!(service.ready().await.unwrap().call(Request::new(Body::empty())));
    assert!(first.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert!(panics_when_polled_again(bulkhead.layer(hangs())).await);
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_ended_its_call() {
    assert!(panics_when_polled_again(TimeoutLayer::new(name!("upstream")).layer(hangs())).await);
    let deadline = DeadlineLayer::builder("edge").build().unwrap();
    assert!(panics_when_polled_again(deadline.layer(hangs())).await);
}

#[tokio::test(start_paused = true)]
async fn in_the_bracket_a_first_attempt_that_hangs_is_ended_by_its_timeout_long_before_the_retrys_total() {
    let begun = Instant::now();
    let call = Standard::new(name!("upstream")).layer(hangs()).oneshot(Request::new(Body::empty()));
    assert_eq!(call.await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    // Three attempts of 1 s, and at most 100 ms and 200 ms between them.
    assert!(begun.elapsed() < Duration::from_millis(3_400), "{:?}", begun.elapsed());
}
