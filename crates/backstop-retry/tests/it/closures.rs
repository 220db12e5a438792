//! A closure as the judge, which looks at what its author had in mind and at nothing else.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use crate::support::{BoxError, Upstream, bulkhead_full, circuit_open, get, rejected, text, timed_out, with_body};
use axum::body::Body;
use backstop_core::{ClassifyFn, ErrorRef, Outcome, Reason, Rejection, name, scope};

use backstop_kit::Http;
use backstop_retry::{Retried, RetryBuilder, RetryLayer, StopReason};
use http::Response;
use tokio::time::sleep_until;
use tower::{Layer, ServiceExt};

type Judge = fn(Result<&Response<Body>, ErrorRef<'_>>) -> Outcome;

/// By the status alone.
fn by_status() -> RetryBuilder<Http<ClassifyFn<Judge>>> {
    let judge: Judge = |result| match result {
        Ok(answer) if answer.status().as_u16() < 500 => Outcome::success(),
        _ => Outcome::failure().transient(),
    };
    RetryLayer::builder("ml").classify_fn(judge)
}

async fn answered(upstream: &Upstream<BoxError>) -> Response<Body> {
    let layer = by_status().total(Duration::from_secs(3)).build().unwrap();
    layer.layer(upstream.clone()).oneshot(get()).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_a_timeout_further_in_ends_at_the_total_gives_way_to_the_upstreams_last_answer() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 {
            return Ok(with_body(503, "upstream's own"));
        }
        sleep_until(scope::deadline().unwrap().instant()).await;
        Ok(timed_out())
    });
    let answer = answered(&upstream).await;
    assert_eq!(answer.extensions().get::<Retried>().unwrap().stop(), Some(StopReason::TotalPassed));
    assert_eq!(text(answer.into_body()).await, "upstream's own");
}

#[tokio::test(start_paused = true)]
async fn a_refused_attempt_gives_way_too() {
    let upstream = Upstream::<BoxError>::new(|n, _| async move {
        Ok(if n == 1 { with_body(503, "upstream's own") } else { circuit_open() })
    });
    let answer = answered(&upstream).await;
    assert_eq!(answer.extensions().get::<Retried>().unwrap().stop(), Some(StopReason::Refused));
    assert_eq!(text(answer.into_body()).await, "upstream's own");
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_layers_of_ours_refuse_is_not_repeated_whatever_it_looks_like() {
    let exhausted = || rejected(Rejection::new(name!("c"), Reason::ALL_PROVIDERS_FAILED, Outcome::failure()));
    for refused in [circuit_open, || rejected(bulkhead_full()), exhausted] {
        let upstream = Upstream::<BoxError>::new(move |_, _| async move { Ok(refused()) });
        assert!(answered(&upstream).await.extensions().get::<Rejection>().is_some());
        assert_eq!(upstream.calls(), 1);
        let as_error = Upstream::<BoxError>::new(move |_, _| async move {
            Err(refused().extensions().get::<Rejection>().cloned().unwrap().into())
        });
        let layer = by_status().build().unwrap();
        layer.layer(as_error.clone()).oneshot(get()).await.unwrap_err();
        assert_eq!(as_error.calls(), 1);
    }
}
