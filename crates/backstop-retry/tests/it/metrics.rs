//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::sync::Mutex;

use crate::support::{
    BoxError, Chunks, Then, Upstream, circuit_open, get, grpc, ms, response, text, timed_out, with_header, with_method,
};
use axum::body::Body;
use backstop_retry::{RetryBudget, RetryLayer};
use backstop_test::Metrics;
use http::{Method, Request, Response};
use tower::{Layer, ServiceExt};

async fn call<E: 'static>(layer: &RetryLayer, upstream: Upstream<E>, method: Method) {
    _ = layer.layer(upstream).oneshot(with_method(method)).await;
}

#[tokio::test(start_paused = true)]
async fn each_retry_and_each_that_is_not_made_is_counted_with_its_reason() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = RetryLayer::builder("ml").build().unwrap();
    for status in [200, 404] {
        call(&layer, Upstream::statuses([status]), Method::GET).await;
    }
    assert_eq!(
        metrics.lines(),
        ["retry_requests_total{name=ml} 2"],
        "nothing else is counted where nothing was decided"
    );
    call(&layer, Upstream::statuses([503, 502, 503]), Method::GET).await;
    call(&layer, Upstream::statuses([503, 200]), Method::GET).await;
    call(&layer, Upstream::statuses([503]), Method::POST).await;
    let refused = Upstream::<BoxError>::new(|n, _| async move {
        match n {
            1 => Err("lost".into()),
            _ => Ok(circuit_open()),
        }
    });
    call(&layer, refused, Method::GET).await;
    call(&layer, Upstream::statuses([500]), Method::GET).await;
    assert_eq!(
        metrics.lines(),
        [
            "retry_attempts_total{name=ml,reason=error} 1",
            "retry_attempts_total{name=ml,reason=status-502} 1",
            "retry_attempts_total{name=ml,reason=status-503} 2",
            "retry_requests_total{name=ml} 7",
            "retry_skipped_total{name=ml,reason=max-attempts} 1",
            "retry_skipped_total{name=ml,reason=not-idempotent} 1",
            "retry_skipped_total{name=ml,reason=not-transient} 1",
            "retry_skipped_total{name=ml,reason=refused} 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn every_other_reason_has_a_counter_of_its_own() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let answering = |answer: fn() -> Response<Body>| Upstream::<BoxError>::new(move |_, _| async move { Ok(answer()) });
    let layer = |total| RetryLayer::builder("ml").max_attempts(2).max_body(0).total(ms(total));
    let long = || layer(60_000).build().unwrap();

    let then_stop = Upstream::<BoxError>::new(|n, _| async move { Ok(grpc("14", (n > 1).then_some("-1"))) });
    call(&layer(60_000).max_attempts(3).build().unwrap(), then_stop, Method::GET).await;
    call(&long(), answering(timed_out), Method::GET).await;
    call(&long(), answering(|| with_header(503, "retry-after", "3600")), Method::GET).await;
    call(&layer(1000).build().unwrap(), answering(|| with_header(503, "retry-after", "1")), Method::GET).await;
    let hangs = Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 { Ok(response(502)) } else { std::future::pending().await }
    });
    call(&layer(1000).build().unwrap(), hangs, Method::GET).await;
    let empty = RetryBudget::builder().reserve_per_second(0).burst(1).build().unwrap();
    let poor = layer(60_000).max_attempts(3).budget(empty).build().unwrap();
    call(&poor, Upstream::statuses([504]), Method::GET).await;

    let mut early = get();
    early.headers_mut().insert("early-data", "1".parse().unwrap());
    long().layer(Upstream::statuses([425])).oneshot(early).await.unwrap();
    let put = Request::put("/").body(Chunks::body(["hello"], Then::End)).unwrap();
    let reads = Upstream::<BoxError>::new(|_, request| async move {
        text(request.into_body()).await;
        Ok(response(503))
    });
    long().layer(reads).oneshot(put).await.unwrap();
    let put = Request::put("/").body(Chunks::body(["hello"], Then::End)).unwrap();
    let held = Mutex::new(Vec::new());
    let uploading = Upstream::<BoxError>::new(move |_, request: Request<Body>| {
        held.lock().unwrap().push(request.into_body());
        async { Ok(response(503)) }
    });
    RetryLayer::builder("ml").build().unwrap().layer(uploading).oneshot(put).await.unwrap();

    assert_eq!(
        metrics.lines(),
        [
            "retry_attempts_total{name=ml,reason=grpc-14} 1",
            "retry_attempts_total{name=ml,reason=status-502} 1",
            "retry_attempts_total{name=ml,reason=status-504} 1",
            "retry_attempts_total{name=ml,reason=timeout} 1",
            "retry_requests_total{name=ml} 9",
            "retry_skipped_total{name=ml,reason=budget} 1",
            "retry_skipped_total{name=ml,reason=early-data} 1",
            "retry_skipped_total{name=ml,reason=max-attempts} 1",
            "retry_skipped_total{name=ml,reason=no-time-left} 1",
            "retry_skipped_total{name=ml,reason=not-replayable} 1",
            "retry_skipped_total{name=ml,reason=server-delay} 1",
            "retry_skipped_total{name=ml,reason=server-said-stop} 1",
            "retry_skipped_total{name=ml,reason=total-passed} 1",
            "retry_skipped_total{name=ml,reason=uploading} 1",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_counts_from_then_on() {
    let layer = RetryLayer::builder("ml").max_attempts(2).build().unwrap();
    let service = layer.layer(Upstream::<BoxError>::new(|_, _| async { Ok(response(503)) }));
    service.clone().oneshot(get()).await.unwrap();
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    service.oneshot(get()).await.unwrap();
    assert_eq!(
        metrics.lines(),
        [
            "retry_attempts_total{name=ml,reason=status-503} 1",
            "retry_requests_total{name=ml} 1",
            "retry_skipped_total{name=ml,reason=max-attempts} 1",
        ]
    );
}
