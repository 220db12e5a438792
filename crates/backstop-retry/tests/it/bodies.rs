//! Requests with bodies, sent again.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use crate::support::{BoxError, Chunks, Then, Upstream, elapsed, ml, rejected, response, text, with_body};
use axum::{Router, body::Body, http::StatusCode, routing::put};
use backstop_core::SetBy;
use backstop_kit::Progress;
use backstop_retry::RetryLayer;
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full, Limited};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

fn upload(body: Body) -> Request<Body> {
    Request::put("/things/1").header("x-first", "1").header("x-first", "2").body(body).unwrap()
}

fn broken() -> BoxError {
    io::Error::from(io::ErrorKind::ConnectionReset).into()
}

/// Breaks off after it has read so many chunks, for the first `failures` attempts, and then echoes.
fn breaks_off(after: usize, failures: usize) -> Upstream<BoxError> {
    Upstream::new(move |n, mut request| async move {
        if n > failures {
            return Ok(with_body(200, text(request.into_body()).await));
        }
        for _ in 0..after {
            // What was buffered may come in fewer and longer chunks.
            request.body_mut().frame().await.transpose()?;
        }
        Err(broken())
    })
}

#[tokio::test(start_paused = true)]
async fn a_body_arrives_once_and_whole_wherever_the_attempts_before_dropped_it() {
    for after in 0..=3 {
        for failures in 1..=2 {
            let body = Chunks::body(["hello ", "wide ", "world"], Then::End);
            let upstream = breaks_off(after, failures);
            let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(upload(body)).await.unwrap();
            assert_eq!(text(answer.into_body()).await, "hello wide world", "{after} read, {failures} failed");
            assert_eq!(upstream.calls(), failures + 1);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn everything_of_the_request_is_the_same_again() {
    #[derive(Clone, Debug, PartialEq)]
    struct Principal(&'static str);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let upstream = Upstream::<BoxError>::new(move |_, request: Request<Body>| {
        let sees = Arc::clone(&sees);
        async move {
            let (head, body) = request.into_parts();
            let values: Vec<_> = head.headers.get_all("x-first").iter().cloned().collect();
            let principal = head.extensions.get::<Principal>().cloned();
            let body = text(body).await;
            sees.lock().unwrap().push((head.method, head.uri, head.version, values, principal, body));
            Ok(response(503))
        }
    });
    let mut request = upload(Body::from("hello"));
    request.extensions_mut().insert(Principal("ann"));
    RetryLayer::new(ml()).layer(upstream).oneshot(request).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|request| *request == seen[0]), "{seen:?}");
    assert_eq!((seen[0].4.as_ref(), seen[0].5.as_str()), (Some(&Principal("ann")), "hello"));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_cap_arrives_whole_and_is_sent_once() {
    let layer = RetryLayer::builder("ml").max_body(10).build().unwrap();
    let declared = || Body::from("hello wide world");
    let undeclared = || Chunks::body(["hello ", "wide ", "world"], Then::End);
    for body in [declared(), undeclared()] {
        let upstream =
            Upstream::<BoxError>::new(|_, request| async { Ok(with_body(503, text(request.into_body()).await)) });
        let answer = layer.layer(upstream.clone()).oneshot(upload(body)).await.unwrap();
        assert_eq!(text(answer.into_body()).await, "hello wide world");
        assert_eq!(upstream.calls(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_body_was_dropped_unread_is_sent_again() {
    let upstream = Upstream::<BoxError>::new(|n, request: Request<Body>| async move {
        if n == 1 { Ok(response(503)) } else { Ok(with_body(200, text(request.into_body()).await)) }
    });
    let body = Chunks::body(["hello ", "world"], Then::End);
    let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(upload(body)).await.unwrap();
    assert_eq!(text(answer.into_body()).await, "hello world");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn an_early_answer_while_the_upload_still_runs_is_returned_and_the_upload_goes_on() {
    let (sender, uploading) = tokio::sync::oneshot::channel();
    let sender = Mutex::new(Some(sender));
    let upstream = Upstream::<BoxError>::new(move |_, mut request: Request<Body>| {
        let sender = sender.lock().unwrap().take();
        async move {
            request.body_mut().frame().await.unwrap().unwrap();
            sender.unwrap().send(request.into_body()).unwrap();
            Ok(response(503))
        }
    });
    let body = Chunks::body(["hello ", "wide ", "world"], Then::End);
    let answer = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(upload(body)).await.unwrap();
    assert_eq!((answer.status(), upstream.calls()), (StatusCode::SERVICE_UNAVAILABLE, 1));
    assert_eq!(text(uploading.await.unwrap()).await, "wide world");
}

/// As a client does whose connection goes on sending the body after its call was dropped.
#[tokio::test(start_paused = true)]
async fn an_upload_that_still_runs_when_a_timeout_of_ours_ends_the_call_is_sent_again() {
    let abandoned = Arc::new(Mutex::new(None));
    let connection = Arc::clone(&abandoned);
    let upstream = Upstream::<BoxError>::new(move |n, mut request: Request<Body>| {
        let connection = Arc::clone(&connection);
        async move {
            if n > 1 {
                return Ok(with_body(200, text(request.into_body()).await));
            }
            request.body_mut().frame().await.unwrap().unwrap();
            *connection.lock().unwrap() = Some(request.into_body());
            Ok(rejected(elapsed(SetBy::Us, Progress::Called)))
        }
    });
    let body = Chunks::body(["hello ", "wide ", "world"], Then::End);
    let answer = RetryLayer::new(ml()).layer(upstream).oneshot(upload(body)).await.unwrap();
    assert_eq!((answer.status(), text(answer.into_body()).await), (StatusCode::OK, "hello wide world".into()));
    let abandoned = abandoned.lock().unwrap().take().unwrap();
    abandoned.collect().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_a_body_that_was_read_whole_is_retried() {
    let upstream = Upstream::<BoxError>::new(|n, request: Request<Body>| async move {
        let body = text(request.into_body()).await;
        Ok(with_body(if n == 1 { 503 } else { 200 }, body))
    });
    let answer = RetryLayer::new(ml()).layer(upstream).oneshot(upload(Body::from("hello"))).await.unwrap();
    assert_eq!((answer.status(), text(answer.into_body()).await), (StatusCode::OK, "hello".into()));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_fails_is_sent_once_and_its_error_is_returned() {
    let upstream = Upstream::<BoxError>::new(|_, request| async {
        request.into_body().collect().await?;
        unreachable!()
    });
    let failing = Body::new(Full::new(Bytes::new()).map_err(|_| broken()).with_trailers(async { Some(Err(broken())) }));
    let error = RetryLayer::new(ml()).layer(upstream.clone()).oneshot(upload(failing)).await.unwrap_err();
    assert_eq!(upstream.calls(), 1);
    assert!(
        std::iter::successors(Some(&*error as &dyn std::error::Error), |error| error.source())
            .any(<dyn std::error::Error>::is::<io::Error>)
    );
}

#[tokio::test]
async fn an_outer_body_limit_is_still_a_413() {
    let app = Router::new().route("/things/1", put(|body: Bytes| async move { body }));
    let app = ServiceBuilder::new()
        .map_request(|request: Request<Body>| request.map(|body| Body::new(Limited::new(body, 10))))
        .layer(RetryLayer::new(ml()))
        .service(app);
    let long = Chunks::body(["hello ", "wide ", "world"], Then::End);
    let answer = app.oneshot(upload(long)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test(start_paused = true)]
async fn bodies_other_than_axums_are_replayed_too() {
    let calls = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let service = service_fn(move |request: Request<Full<Bytes>>| {
        let seen = Arc::clone(&seen);
        async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            seen.lock().unwrap().push(body);
            Ok::<_, Infallible>(response(503))
        }
    });
    let request = Request::put("/").body(Full::from("hello")).unwrap();
    RetryLayer::new(ml()).layer(service).oneshot(request).await.unwrap();
    assert_eq!(*calls.lock().unwrap(), ["hello", "hello", "hello"]);
}
