//! Requests whose bodies fail or are slow: what their callers do is no failure of the service.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::body::Body;
use backstop_circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use tokio::time::{Sleep, advance, sleep};
use tokio_test::{assert_pending, task};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

/// A body that comes after a while, if at all.
struct Upload {
    comes: Option<Pin<Box<Sleep>>>,
    result: Option<Result<&'static str, BoxError>>,
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { comes: Some(comes), result } = &mut *self else {
            return Poll::Pending;
        };
        if result.is_some() {
            ready!(comes.as_mut().poll(cx));
        }
        Poll::Ready(result.take().map(|result| result.map(|text| Frame::data(text.into()))))
    }
}

fn upload(after: Duration, result: Result<&'static str, BoxError>) -> Request<Body> {
    Request::new(Body::new(Upload { comes: Some(Box::pin(sleep(after))), result: Some(result) }))
}

fn broken() -> Request<Body> {
    upload(Duration::ZERO, Err("the caller is gone".into()))
}

fn endless() -> Request<Body> {
    Request::new(Body::new(Upload { comes: None, result: None }))
}

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream")
}

fn counted(circuit: &CircuitBreakerHandle) -> (CircuitState, u32) {
    (circuit.state(), circuit.counts().failures)
}

/// Reads the request's body, and then answers with this status; with a 502 where it couldn't be read.
fn reads(
    then: StatusCode,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
    service_fn(move |request: Request<Body>| async move {
        let read = request.into_body().collect().await;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = read.map_or(StatusCode::BAD_GATEWAY, |_| then);
        Ok(response)
    })
}

#[tokio::test(start_paused = true)]
async fn how_a_layer_rejects_does_not_decide_whether_it_watches_request_bodies() {
    let layer = builder().reject_as_error().build().unwrap();
    let answers = layer.layer(reads(StatusCode::OK).map_err(|never| -> BoxError { match never {} }));
    for _ in 0..5 {
        assert_eq!(answers.clone().oneshot(broken()).await.unwrap().status(), StatusCode::BAD_GATEWAY);
    }
    assert_eq!(counted(&layer.handle()), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failed_request_body_is_no_failure_whatever_the_service_makes_of_it() {
    let layer = builder().build().unwrap();
    let circuit = layer.handle();
    let answers = layer.layer(reads(StatusCode::OK));
    let fails = layer.layer(service_fn(|request: Request<Body>| async {
        request.into_body().collect().await.map(|_| Response::new(Body::empty()))
    }));
    for _ in 0..5 {
        assert_eq!(answers.clone().oneshot(broken()).await.unwrap().status(), StatusCode::BAD_GATEWAY);
        assert_eq!(fails.clone().oneshot(broken()).await.unwrap_err().to_string(), "the caller is gone");
    }
    assert_eq!(counted(&circuit), (CircuitState::Closed, 0));

    // The service's own word counts, also where it was slow to come because the upload was.
    let answers = layer.layer(reads(StatusCode::INTERNAL_SERVER_ERROR));
    answers.oneshot(upload(Duration::from_secs(9), Ok("late"))).await.unwrap();
    assert_eq!(counted(&circuit), (CircuitState::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_for_its_callers_body_is_no_failure() {
    let layer = builder().build().unwrap();
    let circuit = layer.handle();
    let mut waits = task::spawn(layer.layer(reads(StatusCode::OK)).oneshot(endless()));
    assert_pending!(waits.poll());
    advance(Duration::from_secs(60)).await;
    drop(waits);
    assert_eq!(counted(&circuit), (CircuitState::Closed, 0));

    // A service that doesn't read it hangs.
    let hung = service_fn(|_request: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let mut hangs = task::spawn(layer.layer(hung).oneshot(endless()));
    assert_pending!(hangs.poll());
    advance(Duration::from_secs(60)).await;
    drop(hangs);
    assert_eq!(counted(&circuit), (CircuitState::Closed, 1));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_callers_body_makes_no_call_slow() {
    let second = Duration::from_secs(1);
    let layer = builder().slow_calls(second, 1.0).build().unwrap();
    let circuit = layer.handle();
    layer.layer(reads(StatusCode::OK)).oneshot(upload(second * 10, Ok("late"))).await.unwrap();
    assert_eq!(circuit.counts().slow, 0);
    let slow = service_fn(|request: Request<Body>| async move {
        sleep(second).await;
        request.into_body().collect().await.map(|_| Response::new(Body::empty()))
    });
    layer.layer(slow).oneshot(upload(second / 2, Ok("in time"))).await.unwrap();
    assert_eq!(circuit.counts().slow, 1);
}
