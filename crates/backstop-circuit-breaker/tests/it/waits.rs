//! How long an open circuit stays open, and what it tells those that it refuses.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Rejection, Wait,
};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const GROWING: Wait = Wait::Growing { first: Duration::from_secs(10), max: Duration::from_secs(35) };

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1).success_threshold(1).seed(7)
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode, retry_after: Option<u64>) -> Response<()> {
    let answers = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        if let Some(seconds) = retry_after {
            response.headers_mut().insert("retry-after", seconds.into());
        }
        Ok::<_, Infallible>(response)
    });
    layer.layer(answers).oneshot(Request::new(())).await.unwrap()
}

async fn fail(layer: &CircuitBreakerLayer) {
    call(layer, StatusCode::SERVICE_UNAVAILABLE, None).await;
}

fn wait(handle: &CircuitBreakerHandle) -> u64 {
    handle.remaining_wait().unwrap().as_secs()
}

#[tokio::test(start_paused = true)]
async fn a_growing_wait_doubles_with_each_failed_recovery_and_starts_over() {
    let layer = builder().wait(GROWING).wait_jitter(0.0).build().unwrap();
    let handle = layer.handle();
    for _ in 0..2 {
        for expected in [10, 20, 35, 35] {
            fail(&layer).await;
            assert_eq!(wait(&handle), expected);
            advance(expected as u32 * SECOND).await;
        }
        call(&layer, StatusCode::OK, None).await;
        assert_eq!(handle.state(), CircuitState::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn a_growing_wait_is_stretched_by_a_tenth_at_most() {
    let layer = builder().wait(GROWING).build().unwrap();
    let handle = layer.handle();
    let mut waits = Vec::new();
    for _ in 0..100 {
        handle.reset();
        fail(&layer).await;
        waits.push(handle.remaining_wait().unwrap());
    }
    assert!(waits.iter().all(|wait| (10 * SECOND..=11 * SECOND).contains(wait)));
    waits.dedup();
    assert!(waits.len() > 90);
}

#[tokio::test(start_paused = true)]
async fn the_dependencys_retry_after_is_respected_where_that_is_asked_for() {
    let unavailable = StatusCode::SERVICE_UNAVAILABLE;
    for (asked, expected) in [(Some(30), 30), (Some(5), 10), (Some(3600), 120), (None, 10)] {
        let layer = builder().wait(10 * SECOND).respect_retry_after(120 * SECOND).build().unwrap();
        call(&layer, unavailable, asked).await;
        assert_eq!(wait(&layer.handle()), expected);
        // As with a probe's.
        advance(expected as u32 * SECOND).await;
        call(&layer, unavailable, asked).await;
        assert_eq!(wait(&layer.handle()), expected);
    }
    let layer = builder().wait(10 * SECOND).build().unwrap();
    call(&layer, unavailable, Some(30)).await;
    assert_eq!(wait(&layer.handle()), 10);
}

#[tokio::test(start_paused = true)]
async fn refused_callers_are_told_different_waits_and_none_too_short() {
    for (layer, most, different) in [(builder(), 66, 5), (builder().retry_after_jitter(0.5), 90, 15)] {
        let layer = layer.build().unwrap();
        fail(&layer).await;
        advance(Duration::from_millis(500)).await;
        let mut told = told(&layer).await;
        assert!(told.iter().all(|seconds| (60..=most).contains(seconds)), "{told:?}");
        told.sort_unstable();
        told.dedup();
        assert!(told.len() >= different, "{told:?}");
        assert_eq!(layer.handle().remaining_wait(), Some(Duration::from_millis(59_500)), "the circuit's own wait");
    }
}

/// What a hundred refused callers are told, in seconds.
async fn told(layer: &CircuitBreakerLayer) -> Vec<u64> {
    let mut told = Vec::new();
    for _ in 0..100 {
        let refused = call(layer, StatusCode::OK, None).await;
        let rejection = refused.extensions().get::<Rejection>().unwrap();
        let seconds: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert!(rejection.retry_after().unwrap() >= Duration::from_millis(59_500));
        told.push(seconds);
    }
    told
}

#[tokio::test(start_paused = true)]
async fn a_refused_caller_is_told_a_second_at_least() {
    let layer = builder().wait(Duration::from_millis(10)).build().unwrap();
    fail(&layer).await;
    let refused = call(&layer, StatusCode::OK, None).await;
    assert_eq!(refused.headers()["retry-after"], "1");
}
