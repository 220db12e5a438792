//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::convert::Infallible;

use axum::{body::Body, response::Response};
use backstop_features::{FeatureLayer, FlagChange};
use backstop_test::Metrics;
use http::Request;
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

use crate::common::{SEARCH, drive, fail, secs, shop};

#[tokio::test]
async fn one_state_of_a_feature_is_shown_and_refusals_are_counted() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let features = shop().build().unwrap();
    let shown = || {
        ["enabled", "degraded", "disabled"]
            .map(|state| metrics.gauge("feature_state", &[("feature", "search"), ("state", state)]))
    };
    assert_eq!(shown(), [1.0, 0.0, 0.0].map(Some));
    fail(&features, &SEARCH, 5);
    assert_eq!(shown(), [0.0, 1.0, 0.0].map(Some));
    features.handle().set(&SEARCH, FlagChange::disable("ada", "broken")).await.unwrap();
    assert_eq!(shown(), [0.0, 0.0, 1.0].map(Some));

    let layer = FeatureLayer::new(features.gate(&SEARCH).unwrap());
    let service =
        layer.layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(Response::new(Body::empty())) }));
    _ = service.oneshot(Request::new(Body::empty())).await;
    assert_eq!(metrics.counter("feature_rejections_total", &[("feature", "search")]), 1);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_shows_features_that_never_change() {
    let features = shop().build().unwrap();
    drive(&features).await;
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    sleep(secs(2)).await;
    assert_eq!(metrics.gauge("feature_state", &[("feature", "checkout"), ("state", "enabled")]), Some(1.0));
}
