//! What a dashboard shows.

#![cfg(feature = "metrics")]

use backstop_fault::Fault;
use backstop_test::Metrics;
use tower::{Layer, ServiceExt};

use crate::support::{always, answering, armed, get, is_hit};

#[tokio::test(start_paused = true)]
async fn injected_faults_are_counted_by_kind_also_by_a_recorder_that_comes_later() {
    let layer = armed().build().unwrap();
    layer.handle().start(always(Fault::Error)).unwrap();
    assert!(is_hit(&layer, get("/")).await);
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    assert!(is_hit(&layer, get("/")).await && is_hit(&layer, get("/")).await);
    layer.handle().stop("ada", "next").unwrap();
    layer.handle().start(always(Fault::truncated_body(1))).unwrap();
    let answer = layer.layer(answering()).oneshot(get("/")).await.unwrap();
    // It is counted where it breaks off.
    assert!(axum::body::to_bytes(answer.into_body(), 1024).await.is_err());
    assert_eq!(
        metrics.lines(),
        ["faults_injected_total{kind=error,name=edge} 2", "faults_injected_total{kind=truncated-body,name=edge} 1"]
    );
}
