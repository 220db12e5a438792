//! `/metrics`.

use crate::common::App;

#[tokio::test(start_paused = true)]
async fn metrics_are_histograms_whose_buckets_can_be_added_up_and_are_not_stored() {
    let app = App::start().await;
    app.recommend("ada").await.assert_from("ml_service");
    let answer = app.get("/metrics").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let text = String::from_utf8_lossy(&answer.body);
    for line in [
        "# TYPE fallback_latency_seconds histogram",
        "fallback_latency_seconds_bucket{chain_name=\"recommendations\",provider_name=\"ml_service\",le=\"0.1\"}",
        "calls_total{name=\"ml_service\",outcome=\"success\"}",
        "health_ready ",
    ] {
        assert!(text.contains(line), "no {line} in\n{text}");
    }
    assert!(!text.contains("ada"), "{text}");
}
