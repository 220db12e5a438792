//! A bulkhead that changes its size while it is in use.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use crate::support::{Calls, Upstream, call, is_full, reached, room_for, upstream};
use axum::body::Body;
use backstop_bulkhead::{BulkheadConfig, BulkheadLayer};
use http::Response;
use tokio_test::{assert_pending, assert_ready_ok, task::Spawn};

#[tokio::test(start_paused = true)]
async fn a_larger_one_lets_those_in_line_in_at_once_and_in_order() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 3);
    let mut calls: Vec<_> = (0..4).map(|_| call(&layer, &upstream)).collect();
    for call in &mut calls {
        assert_pending!(call.poll());
    }
    layer.handle().set_max_concurrent(3).unwrap();
    let woken: Vec<_> = calls.iter().map(Spawn::is_woken).collect();
    assert_eq!(woken, [false, true, true, false]);
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_smaller_one_ends_nothing_and_lets_nobody_in_until_it_is_met() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(3, 1);
    let mut running: Vec<_> = (0..3).map(|_| call(&layer, &upstream)).collect();
    for call in &mut running {
        assert_pending!(call.poll());
    }
    let mut waits = call(&layer, &upstream);
    assert_pending!(waits.poll());
    layer.handle().set_max_concurrent(1).unwrap();
    assert_eq!((layer.handle().in_use(), layer.handle().max_concurrent()), (3, 1));
    for (i, call) in running.iter_mut().enumerate() {
        reached(&mut calls).await.send_response(Response::new(Body::empty()));
        assert_ready_ok!(call.poll());
        assert_eq!(waits.is_woken(), i == 2, "after {} calls", i + 1);
    }
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (1, 0));
}

#[test]
fn an_impossible_size_changes_nothing() {
    let handle = room_for(3, 1).handle();
    for size in [0, 1_000_001] {
        assert_eq!(handle.set_max_concurrent(size).unwrap_err().field, "max_concurrent");
        assert_eq!(handle.max_concurrent(), 3);
    }
}

fn config(name: &'static str, change: impl FnOnce(&mut BulkheadConfig)) -> BulkheadConfig {
    let mut config = BulkheadConfig::new(name);
    change(&mut config);
    config
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_running_calls_and_the_order_of_the_line() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(1, 3);
    let mut all: Vec<_> = (0..4).map(|_| call(&layer, &upstream)).collect();
    for call in &mut all {
        assert_pending!(call.poll());
    }
    let reload = |running, waiting| {
        let config = config("ml_service", |c| (c.max_concurrent, c.max_waiting) = (running, Some(waiting)));
        layer.handle().reload(config).unwrap();
    };
    reload(2, 1);
    assert_eq!(all.iter().map(Spawn::is_woken).collect::<Vec<_>>(), [false, true, false, false]);
    assert_eq!((layer.handle().in_use(), layer.handle().waiting()), (2, 2), "nobody is sent away");
    assert!(is_full(&assert_ready_ok!(call(&layer, &upstream).poll())), "the line is as long as allowed, or longer");

    reload(1, 3);
    assert_pending!(all[1].poll());
    for (ended, woken) in [[false, false], [true, false], [false, true]].into_iter().enumerate() {
        reached(&mut calls).await.send_response(Response::new(Body::empty()));
        assert_ready_ok!(all[ended].poll());
        assert_eq!([all[2].is_woken(), all[3].is_woken()], woken, "after {} calls", ended + 1);
        if let Some(next) = all.get_mut(ended + 1) {
            assert_pending!(next.poll());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_has_begun_keeps_its_limit() {
    let (upstream, _calls) = upstream();
    let layer = room_for(1, 2);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    let mut before = call(&layer, &upstream);
    assert_pending!(before.poll());
    layer
        .handle()
        .reload(config("ml_service", |c| {
            (c.max_concurrent, c.max_wait) = (1, Some(Duration::from_millis(100)));
            c.max_waiting = Some(2);
        }))
        .unwrap();
    let mut after = call(&layer, &upstream);
    assert_pending!(after.poll());
    tokio::time::advance(Duration::from_millis(101)).await;
    assert!(is_full(&assert_ready_ok!(after.poll())));
    assert_pending!(before.poll());
    tokio::time::advance(Duration::from_millis(900)).await;
    assert!(is_full(&assert_ready_ok!(before.poll())));
}

/// An answer whose body isn't read.
async fn unread(layer: &BulkheadLayer, upstream: &Upstream, calls: &mut Calls) -> Response<Body> {
    let mut running = call(layer, upstream);
    assert_pending!(running.poll());
    reached(calls).await.send_response(Response::new(Body::from("unread")));
    assert_ready_ok!(running.poll())
}

#[tokio::test(start_paused = true)]
async fn a_shorter_hold_is_for_new_bodies_and_ends_before_older_ones() {
    let (upstream, mut calls) = upstream();
    let layer = room_for(2, 1);
    let old = unread(&layer, &upstream, &mut calls).await;
    let hold = |c: &mut BulkheadConfig| {
        (c.max_concurrent, c.max_waiting, c.max_wait) = (2, Some(1), Some(Duration::from_secs(10)));
        c.max_hold = Some(Duration::from_secs(5));
    };
    layer.handle().reload(config("ml_service", hold)).unwrap();
    let new = unread(&layer, &upstream, &mut calls).await;
    // In line behind both, and nobody reads them.
    let mut waits = call(&layer, &upstream);
    assert_pending!(waits.poll());
    tokio::time::advance(Duration::from_millis(5_001)).await;
    assert!(waits.is_woken());
    assert_pending!(waits.poll());
    reached(&mut calls).await.send_response(Response::new(Body::empty()));
    assert_ready_ok!(waits.poll());
    assert_eq!(layer.handle().in_use(), 1, "the older body's");
    drop((old, new));
    assert_eq!(layer.handle().in_use(), 0);
}

#[test]
fn a_wrong_reload_changes_nothing() {
    let handle = room_for(3, 1).handle();
    for (config, field) in [
        (config("other", |_| ()), "name"),
        (config("ml service", |_| ()), "name"),
        (config("ml_service", |c| (c.max_concurrent, c.max_waiting) = (7, Some(1_000_001))), "max_waiting"),
        (config("ml_service", |c| (c.max_concurrent, c.max_hold) = (7, Some(Duration::ZERO))), "max_hold"),
    ] {
        assert_eq!(handle.check(&config).unwrap_err().field, field);
        assert_eq!(handle.reload(config).unwrap_err().field, field);
        assert_eq!((handle.max_concurrent(), handle.max_waiting()), (3, 1));
    }
    assert_eq!(handle.check(&BulkheadConfig::new("ml_service")), Ok(()));
    assert_eq!(handle.max_concurrent(), 3, "a check changes nothing");

    let until_headers = BulkheadLayer::builder("ml_service").until_headers().build().unwrap().handle();
    let hold = |c: &mut BulkheadConfig| c.max_hold = Some(Duration::from_secs(1));
    assert_eq!(until_headers.reload(config("ml_service", hold)).unwrap_err().field, "max_hold");
}

#[test]
fn reloads_at_the_same_time_leave_the_settings_of_one_of_them() {
    let handle = BulkheadLayer::new(backstop_bulkhead::name!("raced")).handle();
    let config = |n: u32| {
        let mut config = BulkheadConfig::new("raced");
        (config.max_concurrent, config.max_waiting) = (n, Some(n));
        let time = Duration::from_secs(n.into());
        (config.max_wait, config.max_hold) = (Some(time), Some(time));
        config
    };
    for _ in 0..500 {
        std::thread::scope(|scope| {
            scope.spawn(|| handle.reload(config(1)).unwrap());
            scope.spawn(|| handle.reload(config(2)).unwrap());
        });
        let n = handle.max_concurrent();
        let time = Duration::from_secs(n.into());
        assert_eq!((handle.max_waiting(), handle.max_wait(), handle.max_hold()), (n, time, time));
    }
}
