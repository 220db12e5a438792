//! Answers that are to be replaced, and whose bodies are still coming when the time is up.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use crate::support::{Chunks, Drips, Then, Upstream, get, ms, text, with_body};
use axum::body::Body;
use backstop_core::{Deadline, Scope, SetBy};
use backstop_kit::KeepReplaced;
use backstop_retry::{Backoff, Retried, RetryBuilder, RetryLayer, StopReason};
use http::Response;
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout};
use tower::{Layer, ServiceExt};

/// A retry that waits 10 ms, and has 80 ms unless told otherwise.
fn retry() -> RetryBuilder {
    RetryLayer::builder("ml").total(ms(80)).backoff(Backoff::Constant).backoff_base(ms(10))
}

/// The answer, and when it came.
async fn answered(retry: RetryBuilder, upstream: &Upstream) -> (Response<Body>, Duration) {
    let begun = Instant::now();
    let call = retry.build().unwrap().layer(upstream.clone()).oneshot(get());
    let answer = timeout(Duration::from_secs(100), call).await.expect("an answer within the total").unwrap();
    (answer, begun.elapsed())
}

fn stopped(answer: &Response<Body>) -> (u32, Option<StopReason>) {
    let retried = answer.extensions().get::<Retried>().unwrap();
    (retried.attempts(), retried.stop())
}

#[tokio::test(start_paused = true)]
async fn one_that_is_all_there_is_at_the_total_is_returned_as_far_as_it_came_and_streams_on() {
    for drips in [true, false] {
        let body = move || if drips { Drips::body(ms(30)) } else { Chunks::body(["drip ", "drip "], Then::Hang) };
        let upstream = Upstream::new(move |n, _| async move {
            assert_eq!(n, 1, "there is no time for another attempt");
            Ok(with_body(503, body()))
        });
        let (answer, took) = answered(retry(), &upstream).await;
        assert_eq!((answer.status().as_u16(), took), (503, ms(80)));
        assert_eq!(stopped(&answer), (1, Some(StopReason::TotalPassed)));
        let mut body = answer.into_body();
        let read = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(read, "drip drip ", "what was read by then");
        if drips {
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "drip ", "and what comes later");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_came_whole_before_is_returned_instead_when_the_total_passes() {
    let upstream = Upstream::new(|n, _| async move {
        Ok(if n == 1 { with_body(503, "whole") } else { with_body(502, Drips::body(ms(30))) })
    });
    let (answer, took) = answered(retry(), &upstream).await;
    assert_eq!((answer.status().as_u16(), took), (503, ms(80)));
    assert_eq!(stopped(&answer), (2, Some(StopReason::TotalPassed)));
    assert_eq!(text(answer.into_body()).await, "whole");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_around_it_binds_as_the_total_does() {
    let upstream = Upstream::new(|_, _| async move { Ok(with_body(503, Drips::body(ms(30)))) });
    let mut scope = Scope::narrowed(Deadline::after(ms(40), SetBy::Caller));
    let mut call = Box::pin(answered(retry().total(Duration::from_secs(60)), &upstream));
    let (answer, took) = std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await;
    assert_eq!((answer.status().as_u16(), took, upstream.calls()), (503, ms(40), 1));
    assert_eq!(stopped(&answer), (1, Some(StopReason::TotalPassed)));
}

#[tokio::test(start_paused = true)]
async fn one_that_is_slower_than_its_own_limit_gives_way_to_the_next_attempt() {
    let upstream = Upstream::new(|n, _| async move {
        Ok(if n == 1 { with_body(503, Drips::body(ms(30))) } else { with_body(200, "fresh") })
    });
    let keep = KeepReplaced::default().max_wait(ms(70)).unwrap();
    let (answer, took) = answered(retry().keep_replaced(keep), &upstream).await;
    assert_eq!((answer.status().as_u16(), took), (200, ms(70)));
}

#[test]
fn a_limit_of_its_own_that_is_longer_than_the_total_is_refused() {
    let keep = KeepReplaced::default().max_wait(ms(81)).unwrap();
    let error = retry().keep_replaced(keep).build().unwrap_err();
    assert_eq!(error.to_string(), "max_wait is 81ms, allowed is: more than 0 s, up to the total");
    assert!(retry().keep_replaced(keep).total(ms(81)).build().is_ok(), "the last word counts");
    assert!(retry().keep_replaced(KeepReplaced::default()).build().is_ok(), "what isn't set gives way");
    assert!(retry().keep_replaced(keep).discard_replaced().build().is_ok());
}
