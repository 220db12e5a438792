//! Who comes in, who waits, and who is refused.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Waker},
    time::Duration,
};

use crate::support::{call, is_full, none_reached, reached, rejection, room_for, upstream, within};
use axum::body::Body;
use backstop_bulkhead::BulkheadLayer;
use backstop_core::{Deadline, Reason, Rejection, SetBy};
use backstop_kit::{Elapsed, Progress};
use backstop_test::{Scripted, Step};
use http::{Request, Response, StatusCode, header};
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower::{Layer, Service, ServiceExt};

const MAX_WAIT: Duration = Duration::from_secs(1);

fn empty() -> Response<Body> {
    Response::new(Body::empty())
}

#[tokio::test(start_paused = true)]
async fn what_finds_no_room_waits_in_the_order_in_which_it_came() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 3);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let running_call = reached(&mut calls).await;

    let mut line: Vec<_> = (0..3).map(|_| call(&layer, &upstream)).collect();
    // The order of the first polls, not of the calls.
    let order = [2, 0, 1];
    for i in order {
        assert_pending!(line[i].poll());
    }
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 3));
    running_call.send_response(empty());
    assert_ready_ok!(running.poll());
    for i in order {
        let woken: Vec<_> = (0..3).filter(|i| line[*i].is_woken()).collect();
        assert_eq!(woken, [i], "one at a time, in order");
        assert_pending!(line[i].poll());
        reached(&mut calls).await.send_response(empty());
        assert!(none_reached(&mut calls));
        assert_eq!(assert_ready_ok!(line[i].poll()).status(), StatusCode::OK);
    }
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_never_passes_by_who_waits() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 2);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let mut waits = call(&layer, &upstream);
    assert_pending!(waits.poll());

    reached(&mut calls).await.send_response(empty());
    assert_ready_ok!(running.poll());
    // The permit is free, and the waiter has not come for it yet.
    let mut newcomer = call(&layer, &upstream);
    assert_pending!(newcomer.poll());
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 1));
    assert!(none_reached(&mut calls), "neither is called before it is polled");
    assert_pending!(waits.poll());
    reached(&mut calls).await.send_response(empty());
    assert_ready_ok!(waits.poll());
    assert!(newcomer.is_woken());
}

#[tokio::test(start_paused = true)]
async fn where_the_line_is_full_a_call_is_refused_at_once() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 1);
    let mut first = call(&layer, &upstream);
    let mut second = call(&layer, &upstream);
    assert_pending!(first.poll());
    assert_pending!(second.poll());

    let refused = assert_ready_ok!(call(&layer, &upstream).poll());
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[header::CACHE_CONTROL], "no-store");
    assert_eq!(refused.headers()[header::RETRY_AFTER], "1");
    let rejection = rejection(&refused).unwrap();
    assert_eq!((rejection.by().as_str(), rejection.reason()), ("ml_service", Reason::BULKHEAD_FULL));
    assert_eq!(rejection.to_string(), "bulkhead ml_service is full");
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 1));
    reached(&mut calls).await;
    assert!(none_reached(&mut calls));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_caller_is_told_to_come_back_in_a_second() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 0);
    let mut first = call(&layer, &upstream);
    assert_pending!(first.poll());
    let request = Request::post("/greeter.Greeter/Hello")
        .version(http::Version::HTTP_2)
        .header(header::CONTENT_TYPE, "application/grpc")
        .body(Body::empty())
        .unwrap();
    let refused = layer.layer(upstream).oneshot(request).await.unwrap();
    assert_eq!((refused.status(), &refused.headers()["grpc-status"]), (StatusCode::OK, &"14".parse().unwrap()));
    assert_eq!(refused.headers()["grpc-retry-pushback-ms"], "1000");
}

#[tokio::test(start_paused = true)]
async fn callers_are_told_to_wait_until_the_line_of_now_has_gone() {
    let (upstream, _calls) = upstream();
    for (max_wait, told) in [(Duration::from_millis(1), "1"), (Duration::from_millis(1_001), "2")] {
        let layer =
            BulkheadLayer::builder("ml_service").max_concurrent(1).max_waiting(1).max_wait(max_wait).build().unwrap();
        let mut calls = [call(&layer, &upstream), call(&layer, &upstream)];
        calls.iter_mut().for_each(|call| assert_pending!(call.poll()));
        let refused = assert_ready_ok!(call(&layer, &upstream).poll());
        assert_eq!(refused.headers()[header::RETRY_AFTER], told);
        let wait = rejection(&refused).unwrap().retry_after();
        assert_eq!(wait, Some(max_wait.max(MAX_WAIT)), "no storm after tiny waits");
    }
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_longer_than_max_wait() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 1);
    let mut first = call(&layer, &upstream);
    assert_pending!(first.poll());
    let started = Instant::now();
    let refused = call(&layer, &upstream).await.unwrap();
    assert!(is_full(&refused));
    assert_eq!(started.elapsed(), MAX_WAIT);
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 0));
    reached(&mut calls).await;
    assert!(none_reached(&mut calls));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_in_line_refuses_with_whose_it_was() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 1);
    let mut first = call(&layer, &upstream);
    assert_pending!(first.poll());
    for (after, set_by) in [(200, SetBy::Caller), (300, SetBy::Us), (0, SetBy::Caller)] {
        let limit = Duration::from_millis(after);
        let started = Instant::now();
        let deadline = Deadline::after(limit, set_by);
        let refused =
            within(deadline, layer.layer(upstream.clone()).oneshot(Request::new(Body::empty()))).await.unwrap();
        assert_eq!(started.elapsed(), limit);
        assert_eq!(refused.status(), StatusCode::GATEWAY_TIMEOUT);
        let expected = Elapsed::new(set_by, Progress::NotAsked);
        assert_eq!(rejection(&refused).and_then(Rejection::detail), Some(&expected));
        assert!(!refused.headers().contains_key(header::RETRY_AFTER));
    }
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_has_failed_since_it_was_ready_is_asked_again() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 1);
    // Ready when it is asked, but for the second time.
    let asked = AtomicUsize::new(0);
    let flaky = Scripted::<_, _, &str>::steps([Step::answer(empty())]).readiness(move |_| {
        Poll::Ready(if asked.fetch_add(1, Ordering::Relaxed) == 1 { Err("not now") } else { Ok(()) })
    });
    let mut service = layer.layer(flaky);
    let mut ask = || service.poll_ready(&mut Context::from_waker(Waker::noop()));
    assert_ready_ok!(ask());
    assert_ready_err!(ask());
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    assert_ready_ok!(ask(), "there is no room, and it isn't asked");
    drop(running);
    assert_eq!(service.call(Request::new(Body::empty())).await.unwrap().status(), StatusCode::OK);
}
