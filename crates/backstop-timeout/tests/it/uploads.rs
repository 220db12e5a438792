//! Requests whose bodies are slow or fail: who is to blame, and from when on the limit counts.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress, RequestFailure};
use std::{future::pending, sync::Mutex, time::Duration};

use axum::body::Body;
use backstop_core::{Outcome, Rejection, SetBy};
use backstop_timeout::{TimeoutBuilder, TimeoutLayer, UntilBodyEnd};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tower::{BoxError, Layer, ServiceExt, service_fn};

use crate::scripted::{Act, Scripted};

const LIMIT: Duration = Duration::from_millis(100);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn limit() -> TimeoutBuilder {
    TimeoutLayer::builder("upstream").limit(LIMIT)
}

/// What a service does once it has read so many frames of the request's body.
#[derive(Clone, Copy)]
enum Then {
    AnswersAfter(Duration),
    Hangs,
}

/// Asks a service that reads this many frames of such a body, and when the answer comes.
async fn ask(timeout: TimeoutBuilder, acts: &[Act], frames: usize, then: Then) -> (Response<Body>, Duration) {
    let service = service_fn(|request: Request<Body>| async move {
        let mut body = request.into_body();
        for _ in 0..frames {
            if let Some(frame) = body.frame().await {
                frame?;
            }
        }
        match then {
            Then::AnswersAfter(time) => sleep(time).await,
            Then::Hangs => pending().await,
        }
        Ok::<_, BoxError>(Response::new(Body::empty()))
    });
    let request = Request::new(Scripted::new(acts.iter().cloned()).axum());
    let began = Instant::now();
    let answer = timeout.build().unwrap().layer(service).oneshot(request).await.unwrap();
    (answer, began.elapsed())
}

fn failure(answer: &Response<Body>) -> Option<&RequestFailure> {
    answer.extensions().get::<Rejection>().unwrap().detail()
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_callers_body_most_of_the_time_is_the_callers() {
    let slow = [Act::Wait(ms(60)), Act::Data("a"), Act::Hang];
    for (frames, then) in [(1, Then::Hangs), (9, Then::Hangs)] {
        let (answer, after) = ask(limit(), &slow, frames, then).await;
        assert_eq!((answer.status(), after), (StatusCode::REQUEST_TIMEOUT, LIMIT));
        assert_eq!(failure(&answer), Some(&RequestFailure::TooSlow));
        let outcome = answer.extensions().get::<Rejection>().unwrap().outcome();
        assert_eq!((outcome.verdict, outcome.transient), (Outcome::neutral().verdict, false));
        assert!(outcome.answers());
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_rejects_with_an_error_watches_its_callers_body_too() {
    let layer = limit().reject_as_error().build().unwrap();
    let service = service_fn(|request: Request<Body>| async {
        request.into_body().collect().await.map(|_| Response::new(Body::empty())).map_err(BoxError::from)
    });
    let request = Request::new(Scripted::new([Act::Wait(ms(60)), Act::Data("a"), Act::Hang]).axum());
    let error = layer.layer(service).oneshot(request).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>().unwrap().detail(), Some(&RequestFailure::TooSlow));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_what_it_needs_or_does_not_read_it_is_to_blame() {
    let ended = Elapsed::new(SetBy::Us, Progress::Called);
    let cases: [(&[Act], usize); 4] =
        [(&[Act::Wait(ms(40)), Act::Data("a")], 9), (&[Act::Data("a"), Act::Hang], 1), (&[Act::Hang], 0), (&[], 1)];
    for (acts, frames) in cases {
        let (answer, after) = ask(limit(), acts, frames, Then::Hangs).await;
        assert_eq!((answer.status(), after), (StatusCode::GATEWAY_TIMEOUT, LIMIT), "{acts:?}");
        assert_eq!(answer.extensions().get::<Rejection>().unwrap().detail(), Some(&ended), "{acts:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_that_a_failed_body_caused_is_an_answer_to_the_caller() {
    let (answer, _) = ask(limit(), &[Act::Data("a"), Act::Fail("gone")], 9, Then::Hangs).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!(failure(&answer), Some(&RequestFailure::Broken));
}

#[tokio::test(start_paused = true)]
async fn after_the_upload_the_limit_begins_with_the_end_of_the_body() {
    let streamed: Vec<_> = std::iter::repeat_n([Act::Wait(ms(90)), Act::Data("a")], 10).flatten().collect();
    let after_upload = || limit().after_upload();
    // It takes 900 ms to upload.
    let (answer, after) = ask(after_upload(), &streamed, 11, Then::AnswersAfter(ms(99))).await;
    assert_eq!((answer.status(), after), (StatusCode::OK, ms(999)));
    let (answer, after) = ask(after_upload(), &streamed, 11, Then::Hangs).await;
    assert_eq!((answer.status(), after), (StatusCode::GATEWAY_TIMEOUT, ms(1_000)), "the limit began with the end");
    // Without that word it would have ended long before.
    assert_eq!(ask(limit(), &streamed, 11, Then::Hangs).await.1, LIMIT);
    // A wait for the caller may be as long as it likes.
    let (answer, after) =
        ask(after_upload(), &[Act::Wait(ms(5_000)), Act::Data("a")], 2, Then::AnswersAfter(ms(1))).await;
    assert_eq!((answer.status(), after), (StatusCode::OK, ms(5_001)));
    // A service that takes no more of it isn't waited for.
    let (answer, after) = ask(after_upload(), &streamed, 2, Then::Hangs).await;
    assert_eq!((answer.status(), after), (StatusCode::GATEWAY_TIMEOUT, ms(280)));
    let (answer, after) = ask(after_upload(), &[Act::Data("a"), Act::Data("a")], 1, Then::Hangs).await;
    assert_eq!((answer.status(), after), (StatusCode::GATEWAY_TIMEOUT, LIMIT));
    // A request without a body has its limit from the start.
    let (answer, after) = ask(after_upload(), &[], 0, Then::Hangs).await;
    assert_eq!((answer.status(), after), (StatusCode::GATEWAY_TIMEOUT, LIMIT));
}

/// Reads the request's body to its end, unless it `answers_early`, and answers with a body that hangs. How that body ends, and
/// when.
async fn ask_for_a_hanging_body(answers_early: bool, acts: &[Act]) -> (String, Duration) {
    let reading = Mutex::new(JoinSet::new());
    let reading = &reading;
    let service = service_fn(|request: Request<Body>| async move {
        let mut body = request.into_body();
        if answers_early {
            reading.lock().unwrap().spawn(async move { while body.frame().await.is_some() {} });
        } else {
            while let Some(frame) = body.frame().await {
                frame?;
            }
        }
        Ok::<_, BoxError>(Response::new(Scripted::new([Act::Data("head"), Act::Hang]).axum()))
    });
    let layer = limit().after_upload().cover(UntilBodyEnd).build().unwrap();
    let began = Instant::now();
    let answer = layer.layer(service).oneshot(Request::new(Scripted::new(acts.iter().cloned()).axum())).await.unwrap();
    let read = timeout(ms(60_000), answer.into_body().collect()).await.unwrap();
    (read.unwrap_err().to_string(), began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_limit_after_the_upload_covers_the_body_of_the_response_too() {
    let slow_upload = [Act::Wait(ms(300)), Act::Data("a")];
    for answers_early in [false, true] {
        let (error, after) = ask_for_a_hanging_body(answers_early, &slow_upload).await;
        assert_eq!((error.as_str(), after), ("upstream took too long", ms(300) + LIMIT), "early: {answers_early}");
    }
}
