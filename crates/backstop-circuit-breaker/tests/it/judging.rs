//! What results count as, whoever judges them.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::body::Body;
use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, HttpReject, Rejection, UntilBodyEnd, name,
};
use backstop_core::{ErrorRef, Outcome, Reason, SetBy};
use backstop_kit::{Elapsed, Progress, Reject};
use backstop_test::Scripted;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use http_body_util::BodyExt;
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("ml")
}

/// What a layer of ours further in says of a call that it never passed on, or that its caller had no time for.
fn refusals() -> [Rejection; 2] {
    let late = Elapsed::new(SetBy::Caller, Progress::Called).rejection(name!("inner"));
    [Rejection::refused(name!("inner"), Reason::BULKHEAD_FULL), late]
}

fn every_error_is_a_failure<Res>(result: Result<&Res, ErrorRef<'_>>) -> Outcome {
    result.map_or_else(|_| Outcome::failure(), |_| Outcome::success())
}

#[tokio::test]
async fn refusals_of_ours_open_no_circuit_whatever_a_closure_calls_them() {
    for refusal in refusals() {
        let errors: [fn(Rejection) -> BoxError; 2] = [Into::into, |refusal| io::Error::other(refusal).into()];
        for make in errors {
            let breaker = builder().plain().classify_fn(every_error_is_a_failure::<u64>).build().unwrap();
            let keyed = builder().plain().classify_fn(every_error_is_a_failure::<u64>);
            let keyed = keyed.build_keyed(10, |(): &()| "key").unwrap();
            let refuse = || {
                let refusal = refusal.clone();
                service_fn(move |()| {
                    let error = make(refusal.clone());
                    async { Err::<u64, BoxError>(error) }
                })
            };
            for _ in 0..6 {
                breaker.layer(refuse()).oneshot(()).await.unwrap_err();
                keyed.layer(refuse()).oneshot(()).await.unwrap_err();
            }
            assert_eq!(breaker.handle().state(), CircuitState::Closed);
            let lost = || service_fn(|()| async { Err::<u64, BoxError>("lost".into()) });
            keyed.layer(lost()).oneshot(()).await.unwrap_err();
            let answer = keyed.layer(lost()).oneshot(()).await.unwrap_err();
            assert_eq!(answer.to_string(), "lost", "the circuit of the key is closed");
        }

        let harsh = |_: Result<&Response<Body>, ErrorRef<'_>>| Outcome::failure();
        let breaker = builder().classify_fn(harsh).build().unwrap();
        let rejects_with_an_error = builder().classify_fn(harsh).reject_as_error().build().unwrap();
        for _ in 0..6 {
            let refusal = refusal.clone();
            let refuse = service_fn(move |request: Request<Body>| {
                let context = Reject::<_, Response<Body>, Infallible>::context(&HttpReject::default(), &request);
                let refused = Reject::<Request<Body>, Response<Body>, Infallible>::reject(
                    &HttpReject::default(),
                    context,
                    refusal.clone(),
                );
                async { refused.map_err(|never| -> BoxError { match never {} }) }
            });
            breaker.layer(refuse.clone()).oneshot(Request::new(Body::empty())).await.unwrap();
            rejects_with_an_error.layer(refuse).oneshot(Request::new(Body::empty())).await.unwrap();
        }
        assert_eq!(breaker.handle().state(), CircuitState::Closed);
        assert_eq!(rejects_with_an_error.handle().state(), CircuitState::Closed);
    }
}

#[tokio::test]
async fn a_refusal_that_comes_out_of_readiness_or_of_a_body_opens_no_circuit_either() {
    for refusal in refusals() {
        let breaker = builder().plain().classify_fn(every_error_is_a_failure::<u64>).build().unwrap();
        let watching = |result: Result<&Response<Body>, ErrorRef<'_>>| every_error_is_a_failure(result);
        let watching = builder().classify_fn(watching).observe(UntilBodyEnd).build().unwrap();
        for _ in 0..6 {
            let unready = refusal.clone();
            let refuses = Scripted::<(), u64, BoxError>::steps([]);
            let refuses = refuses.readiness(move |_| Poll::Ready(Err(unready.clone().into())));
            breaker.layer(refuses).ready().await.map(drop).unwrap_err();
            let refusal = refusal.clone();
            let streams = service_fn(move |_: Request<Body>| {
                let body = Body::new(Breaks { half: Some("half".into()), with: refusal.clone() });
                async { Ok::<_, Infallible>(Response::new(body)) }
            });
            let answer = watching.layer(streams).oneshot(Request::new(Body::empty())).await.unwrap();
            answer.into_body().collect().await.map(drop).unwrap_err();
        }
        assert_eq!(breaker.handle().state(), CircuitState::Closed);
        assert_eq!(watching.handle().state(), CircuitState::Closed);
    }
}

/// A body that breaks off after one half.
struct Breaks {
    half: Option<Bytes>,
    with: Rejection,
}

impl http_body::Body for Breaks {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let half = self.half.take().map(Frame::data);
        Poll::Ready(Some(half.ok_or_else(|| self.with.clone().into())))
    }
}

#[tokio::test]
async fn for_functions_every_error_that_proves_nothing_else_counts() {
    let breaker = builder().plain().build().unwrap();
    let mut queue = breaker.layer(service_fn(|()| async { Err::<u64, BoxError>("broker is gone".into()) }));
    for _ in 0..5 {
        queue.ready().await.unwrap().call(()).await.unwrap_err();
    }
    assert_eq!(breaker.handle().state(), CircuitState::Open);
}

fn grpc_call() -> Request<Body> {
    let call = Request::post("/shop.Prices/Get").version(http::Version::HTTP_2);
    call.header("content-type", "application/grpc").body(Body::empty()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn pages_of_an_intermediary_to_grpc_calls_open_the_circuit_as_the_statuses_that_they_map_to() {
    for (status, opens) in [
        (200, true),
        (302, true),
        (400, true),
        (401, false),
        (403, false),
        (404, false),
        (429, true),
        (502, true),
        (503, true),
        (504, true),
    ] {
        let page = service_fn(move |_: Request<Body>| async move {
            let page = Response::builder().status(status).header("content-type", "text/html");
            Ok::<_, Infallible>(page.body(Body::from("<html>")).unwrap())
        });
        let breaker = builder().build().unwrap();
        let watching = builder().observe(UntilBodyEnd).build().unwrap();
        let plain = builder().build().unwrap();
        for _ in 0..5 {
            breaker.layer(page).oneshot(grpc_call()).await.unwrap();
            watching.layer(page).oneshot(grpc_call()).await.unwrap();
            plain.layer(page).oneshot(Request::new(Body::empty())).await.unwrap();
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(breaker.handle().state() == CircuitState::Open, opens, "{status}");
        assert_eq!(watching.handle().state() == CircuitState::Open, opens, "{status}");
        assert_eq!(plain.handle().state() == CircuitState::Open, status >= 500, "HTTP's own {status}");
    }
}

#[tokio::test]
async fn a_grpc_answer_whose_body_ends_without_a_status_is_a_failure_where_bodies_are_watched() {
    for body in [Body::empty(), Body::from("a message")] {
        let bytes = body.collect().await.unwrap().to_bytes();
        let answers = service_fn(move |_: Request<Body>| {
            let answer = Response::builder().header("content-type", "application/grpc");
            let answer = answer.body(Body::from(bytes.clone())).unwrap();
            async { Ok::<_, Infallible>(answer) }
        });
        let watching = builder().observe(UntilBodyEnd).build().unwrap();
        for _ in 0..5 {
            let answer = watching.layer(answers.clone()).oneshot(grpc_call()).await.unwrap();
            answer.into_body().collect().await.unwrap();
        }
        assert_eq!(watching.handle().state(), CircuitState::Open);
    }
}
