//! The circuit and the readiness of what it wraps.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, task::Poll, time::Duration};

use backstop_circuit_breaker::{CircuitBreaker, CircuitBreakerLayer, CircuitState, Rejection};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::Buffer, limit::ConcurrencyLimit, service_fn,
};
use tower_test::mock::{self, Mock};

const WAIT: Duration = Duration::from_secs(60);

type Inner = Mock<Request<()>, Response<String>>;
type Stack = CircuitBreaker<Inner>;

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1).build().unwrap()
}

fn stack(layer: &CircuitBreakerLayer) -> (task::Spawn<Stack>, mock::Handle<Request<()>, Response<String>>) {
    let (mock, mut handle) = mock::pair();
    handle.allow(0);
    (task::spawn(layer.layer(mock)), handle)
}

fn poll_ready(stack: &mut task::Spawn<Stack>) -> Poll<Result<(), BoxError>> {
    stack.enter(|cx, mut stack| stack.poll_ready(cx))
}

fn is_refused<B>(response: &Response<B>) -> bool {
    response.extensions().get::<Rejection>().is_some()
}

async fn trip(layer: &CircuitBreakerLayer) {
    layer
        .layer(service_fn(|_: Request<()>| async { status(StatusCode::BAD_GATEWAY) }))
        .oneshot(Request::new(()))
        .await
        .unwrap();
    assert_eq!(layer.handle().state(), CircuitState::Open);
}

fn status(status: StatusCode) -> Result<Response<String>, Infallible> {
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    Ok(response)
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_will_refuse_is_ready_without_asking_the_service() {
    let layer = layer();
    let (mut stack, mut handle) = stack(&layer);
    assert_pending!(poll_ready(&mut stack));
    trip(&layer).await;
    assert_ready_ok!(poll_ready(&mut stack));
    let response = stack.call(Request::new(())).await.unwrap();
    assert!(is_refused(&response));
    assert_pending!(handle.poll_request());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_not_made_ready_is_not_called_though_the_wait_has_passed() {
    let layer = layer();
    trip(&layer).await;
    let (mut stack, mut handle) = stack(&layer);
    assert_ready_ok!(poll_ready(&mut stack));
    advance(WAIT).await;
    assert!(is_refused(&stack.call(Request::new(())).await.unwrap()));
    assert_pending!(handle.poll_request());
    // The next one is the probe, and waits for the service.
    assert_pending!(poll_ready(&mut stack));
    handle.allow(1);
    assert!(stack.is_woken());
    assert_ready_ok!(poll_ready(&mut stack));
    let mut probe = task::spawn(stack.call(Request::new(())));
    assert_pending!(probe.poll());
    assert_eq!(layer.handle().counts().probes, 1);
}

#[tokio::test(start_paused = true)]
async fn a_clone_asks_for_readiness_itself() {
    let layer = layer();
    trip(&layer).await;
    let (mut stack, mut handle) = stack(&layer);
    assert_ready_ok!(poll_ready(&mut stack));
    layer.handle().close();
    let mut clone = task::spawn(Stack::clone(&stack));
    assert_pending!(poll_ready(&mut clone));
    handle.allow(1);
    assert_ready_ok!(poll_ready(&mut clone));
    let mut called = task::spawn(clone.call(Request::new(())));
    assert_pending!(called.poll());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_become_ready_has_failed() {
    let layer = layer();
    let (mut stack, mut handle) = stack(&layer);
    handle.send_error("gone");
    assert_eq!(assert_ready_err!(poll_ready(&mut stack)).to_string(), "gone");
    assert_eq!(layer.handle().state(), CircuitState::Open);

    // As a probe as well.
    advance(WAIT).await;
    handle.send_error("gone");
    assert_ready_err!(poll_ready(&mut stack));
    assert_eq!(layer.handle().state(), CircuitState::Open);
    assert_eq!(layer.handle().remaining_wait(), Some(WAIT));
    assert_eq!(layer.handle().generation(), 3);
}

#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_the_service_that_was_ready_is_called() {
    let layer = layer();
    let hangs = service_fn(|request: Request<bool>| async move {
        if *request.body() {
            std::future::pending::<()>().await;
        }
        status(StatusCode::OK)
    });
    let mut first = layer.layer(ConcurrencyLimit::new(hangs, 1));
    let mut second = task::spawn(first.clone());
    let hung = first.ready().await.unwrap().call(Request::new(true));
    assert_pending!(second.enter(|cx, mut second| Service::<Request<bool>>::poll_ready(&mut *second, cx)));
    drop(hung);
    assert!(second.is_woken());
    second.ready().await.unwrap().call(Request::new(false)).await.unwrap();
    // The permits of answered and of refused calls come back.
    layer.handle().isolate();
    for _ in 0..3 {
        assert!(is_refused(&second.ready().await.unwrap().call(Request::new(true)).await.unwrap()));
    }
    layer.handle().close();
    for _ in 0..3 {
        second.ready().await.unwrap().call(Request::new(false)).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn over_and_under_a_buffer_it_refuses_and_recovers() {
    let layer = CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap();
    let answers = service_fn(|request: Request<StatusCode>| async move { status(request.into_body()) });
    let over = layer.layer(Buffer::new(answers, 4));
    let under = ServiceBuilder::new().buffer(4).service(over);
    for round in 0..3 {
        for _ in 0..2 {
            let bad = under.clone().oneshot(Request::new(StatusCode::BAD_GATEWAY)).await.unwrap();
            assert_eq!(bad.status(), StatusCode::BAD_GATEWAY, "{round}");
        }
        for _ in 0..20 {
            assert!(is_refused(&under.clone().oneshot(Request::new(StatusCode::OK)).await.unwrap()));
        }
        advance(WAIT).await;
        for _ in 0..2 {
            assert!(!is_refused(&under.clone().oneshot(Request::new(StatusCode::OK)).await.unwrap()));
        }
        assert_eq!(layer.handle().state(), CircuitState::Closed);
    }
}
