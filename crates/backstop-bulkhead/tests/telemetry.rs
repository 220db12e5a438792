//! What an operator sees.

#![cfg(not(backstop_loom))]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

#[path = "it/support.rs"]
mod support;

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::body::Body;
use backstop_core::{Deadline, SetBy};
use http::{Request, Response};
use support::{call, reached, room_for, upstream, within};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};
use tower::{Layer, ServiceExt};
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn each_refusal_and_each_body_that_is_broken_off_is_one_event_without_anything_of_the_request() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(LevelFilter::DEBUG)
        .with_ansi(false)
        .without_time()
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());

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

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let refused = |reason: &str| {
        format!(
            "DEBUG backstop::bulkhead: there was no room for a call name=ml_service reason=\"{reason}\" max_concurrent=1"
        )
    };
    let held = "DEBUG backstop::bulkhead: a response body held its permit for too long name=ml_service max_hold=60s";
    let lines: Vec<_> = log.lines().map(str::trim).collect();
    assert_eq!(lines, [&refused("full"), &refused("waited"), &refused("deadline"), held]);
}
