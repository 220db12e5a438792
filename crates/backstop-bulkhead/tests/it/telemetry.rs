//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::time::Duration;

use axum::body::Body;
use backstop_core::{Deadline, SetBy};
use backstop_test::Logs;
use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, ServiceExt};
use tracing::Level;

use crate::support::{call, reached, room_for, upstream, within};

#[tokio::test(start_paused = true)]
async fn each_refusal_and_each_body_that_is_broken_off_is_one_event_without_anything_of_the_request() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();

    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 1);
    let request = || Request::get("/users/7").body(Body::empty()).unwrap();
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let mut waits = call(&layer, &upstream);
    assert_pending!(waits.poll());
    layer.layer(upstream.clone()).oneshot(request()).await.unwrap();
    waits.await.unwrap();
    let deadline = Deadline::after(Duration::from_millis(1), SetBy::Caller);
    within(deadline, layer.layer(upstream.clone()).oneshot(request())).await.unwrap();

    reached(&mut calls).await.send_response(Response::new(Body::from("unread")));
    let unread = assert_ready_ok!(running.poll());
    advance(Duration::from_secs(60)).await;
    assert_eq!(layer.handle().in_use(), 0);
    assert!(axum::body::to_bytes(unread.into_body(), 99).await.is_err());

    let refused = |reason: &str| {
        format!(
            "DEBUG backstop::bulkhead: there was no room for a call name=ml_service reason=\"{reason}\" max_concurrent=1"
        )
    };
    let held =
        "DEBUG backstop::bulkhead: a response body held its permit for too long name=ml_service max_hold_ms=60000.0";
    assert_eq!(logs.events().lines(), [&refused("full"), &refused("waited"), &refused("deadline"), held]);
}
