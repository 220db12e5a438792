//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::body::Body;
use backstop_test::Metrics;
use http::Response;
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};

use crate::support::{call, reached, room_for, upstream};

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_shown_and_what_is_refused_is_counted_also_by_a_recorder_that_comes_later() {
    let layer = room_for(2, 0);
    let (upstream, mut calls) = upstream();
    let mut before = call(&layer, &upstream);
    assert_pending!(before.poll());

    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    assert_eq!(metrics.lines(), ["bulkhead_in_use{name=ml_service} 2"]);
    assert_ready_ok!(call(&layer, &upstream).poll());
    reached(&mut calls).await.send_response(Response::new(Body::from("unread")));
    let unread = assert_ready_ok!(before.poll());
    drop(running);
    assert_eq!(metrics.lines(), ["bulkhead_in_use{name=ml_service} 1", "bulkhead_rejections_total{name=ml_service} 1"]);

    advance(Duration::from_secs(60)).await;
    assert_eq!(layer.handle().in_use(), 0);
    let all = [
        "bulkhead_held_too_long_total{name=ml_service} 1",
        "bulkhead_in_use{name=ml_service} 0",
        "bulkhead_rejections_total{name=ml_service} 1",
    ];
    assert_eq!(metrics.lines(), all);
    drop(unread);
    assert_eq!(metrics.lines(), all);
}
