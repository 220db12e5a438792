//! `/metrics`, for Prometheus.
//!
//! Labels are configured names and fixed words, so the number of series doesn't grow with users or traffic. Anyone who can reach
//! the app can read them: let a proxy pass on `/api/` and `/jobs/` only.

use std::sync::OnceLock;
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often samples are moved into their buckets. Without a scrape, they would pile up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The exporter. A process has one recorder, so apps in the same process, as in tests, share it.
static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Connections that were refused because there were too many.
pub(crate) const CONNECTIONS_REFUSED: &str = "http_connections_refused_total";

fn exporter() -> &'static PrometheusHandle {
    EXPORTER.get_or_init(|| {
        // With the same buckets everywhere, histograms can be added up over instances. Summaries can't.
        let recorder = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &backstop::DURATION_BUCKETS)
            // It only refuses an empty list of buckets.
            .unwrap_or_default()
            .build_recorder();
        let handle = recorder.handle();
        // If the process has another recorder, that one has the metrics, and the page stays empty.
        if metrics::set_global_recorder(recorder).is_ok() {
            backstop::describe_metrics();
            metrics::describe_counter!(
                CONNECTIONS_REFUSED,
                "Connections that were refused because there were too many"
            );
        }
        handle
    })
}

/// `GET /metrics`. It takes no lock that a request holds.
pub(crate) fn routes() -> Router {
    let exporter = exporter();
    let headers = [(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"), (CACHE_CONTROL, "no-store")];
    Router::new().route("/metrics", get(async move || (headers, exporter.render()).into_response()))
}

/// Keeps the exporter small. Spawn it.
pub(crate) async fn upkeep() {
    loop {
        tokio::time::sleep(UPKEEP).await;
        exporter().run_upkeep();
    }
}
