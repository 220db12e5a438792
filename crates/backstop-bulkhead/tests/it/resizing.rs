//! A bulkhead that changes its size while it is in use.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::support::{call, reached, room_for, upstream};
use axum::body::Body;
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
