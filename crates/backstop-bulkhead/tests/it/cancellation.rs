//! Whatever is dropped, wherever it had got to, gives everything back at once.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::pending, panic::AssertUnwindSafe, sync::Arc};

use crate::support::{call, reached, room_for, unready_call, upstream};
use axum::body::Body;
use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, limit::ConcurrencyLimit, service_fn};

fn empty() -> Response<Body> {
    Response::new(Body::empty())
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_polled_holds_a_permit_only_where_it_was_made_at_once() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 0);
    let unready = unready_call(&layer, &upstream);
    assert_eq!(layer.handle().in_use(), 0, "it has to wait until the service is ready, and hasn't begun to");
    let called = call(&layer, &upstream);
    assert_eq!(layer.handle().in_use(), 1);
    drop(unready);
    assert_eq!(layer.handle().in_use(), 1);
    drop(called);
    assert_eq!(layer.handle().in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_ready_once_is_called_so_once() {
    let (upstream, mut calls) = upstream();
    let mut service = room_for(2, 0).layer(upstream);
    service.ready().await.unwrap();
    // The upstream panics where it isn't made ready for each.
    let mut both = [(); 2].map(|()| task::spawn(service.call(Request::new(Body::empty()))));
    for call in &mut both {
        assert_pending!(call.poll());
        reached(&mut calls).await.send_response(empty());
        assert_ready_ok!(call.poll());
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_service_has_reserved_is_given_back_where_the_room_has_gone_since() {
    let layer = room_for(1, 1);
    let permits = Arc::new(Semaphore::new(2));
    let inner = service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>());
    let mut services = [(); 2].map(|()| layer.layer(ConcurrencyLimit::with_semaphore(inner, Arc::clone(&permits))));
    for service in &mut services {
        service.ready().await.unwrap();
    }
    assert_eq!(permits.available_permits(), 0);
    let mut calls = services.each_mut().map(|service| task::spawn(service.call(Request::new(Body::empty()))));
    assert_eq!(permits.available_permits(), 1, "the second waits, and reserves nothing meanwhile");
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_ready_is_left_without_a_place_in_its_own_line() {
    let layer = room_for(2, 0);
    let permits = Arc::new(Semaphore::new(0));
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(empty()) });
    let mut idle = layer.layer(ConcurrencyLimit::with_semaphore(inner, Arc::clone(&permits)));
    let mut other = idle.clone();
    idle.ready().await.unwrap();
    let mut call = task::spawn(other.ready().await.unwrap().call(Request::new(Body::empty())));
    assert_pending!(call.poll());
    permits.add_permits(1);
    assert!(call.is_woken(), "the idle one would have kept it");
    assert_ready_ok!(call.poll());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_leaves_the_line_makes_room_in_it() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 2);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let (mut first, mut second) = (call(&layer, &upstream), call(&layer, &upstream));
    assert_pending!(first.poll());
    assert_pending!(second.poll());

    drop(first);
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 1));
    assert!(!second.is_woken(), "there is nothing for it yet");
    let mut third = call(&layer, &upstream);
    assert_pending!(third.poll());
    assert_eq!(layer.handle().waiting(), 2);
    reached(&mut calls).await.send_response(empty());
    assert_ready_ok!(running.poll());
    assert!(second.is_woken() && !third.is_woken());
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_nobody_came_for_goes_to_the_next_in_line() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 2);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let (mut first, mut second) = (call(&layer, &upstream), call(&layer, &upstream));
    assert_pending!(first.poll());
    assert_pending!(second.poll());
    reached(&mut calls).await.send_response(empty());
    assert_ready_ok!(running.poll());

    assert!(first.is_woken() && !second.is_woken());
    drop(first);
    assert!(second.is_woken());
    assert_pending!(second.poll());
    reached(&mut calls).await.send_response(empty());
    assert_ready_ok!(second.poll());
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_the_service_gets_ready_gives_both_permits_back() {
    let layer = room_for(1, 1);
    let permits = Arc::new(Semaphore::new(0));
    let inner = service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(empty()) });
    let limited = ConcurrencyLimit::with_semaphore(inner, Arc::clone(&permits));
    let call = || task::spawn(layer.layer(limited.clone()).oneshot(Request::new(Body::empty())));
    let (mut gets_ready, mut waits) = (call(), call());
    assert_pending!(gets_ready.poll());
    assert_pending!(waits.poll());
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 1));
    drop(gets_ready);
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    permits.add_permits(1);
    assert_ready_ok!(waits.poll());
    drop(waits);
    assert_eq!((layer.handle().in_use(), permits.available_permits()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_gives_its_permit_back_after_all_that_it_holds() {
    struct Connection(backstop_bulkhead::BulkheadHandle);

    impl Drop for Connection {
        fn drop(&mut self) {
            assert_eq!(self.0.in_use(), 1, "the next call would run beside this one");
        }
    }

    let layer = room_for(1, 1);
    let handle = layer.handle();
    let service = service_fn(|_: Request<Body>| {
        let connection = Connection(handle.clone());
        async move {
            let _connection = connection;
            pending::<Result<Response<Body>, Infallible>>().await
        }
    });
    let call = || task::spawn(layer.layer(service).oneshot(Request::new(Body::empty())));
    let (mut running, mut waits) = (call(), call());
    assert_pending!(running.poll());
    assert_pending!(waits.poll());
    drop(running);
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    assert_eq!((handle.in_use(), handle.waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_fails_or_panics_gives_its_permit_back() {
    let layer = room_for(1, 0);
    let fails = service_fn(|_: Request<Body>| async { Err::<Response<Body>, _>("gone") });
    let mut failed = task::spawn(layer.layer(fails).oneshot(Request::new(Body::empty())));
    assert!(failed.poll().is_ready());
    assert_eq!(layer.handle().in_use(), 0, "though the future is still there");

    let panics = service_fn(|_: Request<Body>| async { panic!("on purpose") });
    let panics = panics.map_result(|result: Result<Response<Body>, Infallible>| result);
    let mut call = task::spawn(layer.layer(panics).oneshot(Request::new(Body::empty())));
    std::panic::catch_unwind(AssertUnwindSafe(move || _ = call.poll())).unwrap_err();
    assert_eq!(layer.handle().in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_fails_to_get_ready_gives_the_permit_back() {
    let layer = room_for(1, 0);
    let (upstream, mut calls) = upstream();
    calls.send_error("gone");
    let error = layer.layer(upstream).call(Request::new(Body::empty())).await.unwrap_err();
    assert_eq!(error.to_string(), "gone");
    assert_eq!(layer.handle().in_use(), 0);
}
