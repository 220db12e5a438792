//! Many threads call while runs are started and stopped.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    thread,
};

use backstop_fault::Fault;
use tokio::runtime::Builder;
use tokio_test::task;
use tower::{Layer, ServiceExt};

use crate::support::{always, answering, armed, get};

const THREADS: usize = 4;

#[test]
fn no_call_that_begins_after_a_stop_is_hit_and_no_more_than_16_are_held() {
    let layer = armed().build().unwrap();
    let handle = layer.handle();
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    // Counted up before each start and after each stop, so it is even while no run runs.
    let phase = AtomicU64::new(0);
    let is_done = AtomicBool::new(false);
    let hits = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                let _in_runtime = runtime.enter();
                let mut held = Vec::new();
                while !is_done.load(SeqCst) {
                    let before = phase.load(SeqCst);
                    let mut call = task::spawn(layer.layer(answering()).oneshot(get("/")));
                    let is_hit = call.poll().is_pending();
                    let after = phase.load(SeqCst);
                    if is_hit {
                        assert!(before % 2 == 1 || after != before, "hit while no run was running");
                        hits.fetch_add(1, SeqCst);
                        held.push(call);
                    }
                    assert!(handle.status().held <= 16);
                    // More than one thread's share of the places.
                    if held.len() > 6 {
                        held.clear();
                    }
                }
            });
        }
        // Until there were some hits, and no further if the threads have failed.
        for round in 0..1_000_000 {
            if round >= 200 && hits.load(SeqCst) >= 100 {
                break;
            }
            phase.fetch_add(1, SeqCst);
            handle.start(always(Fault::Hang)).unwrap();
            thread::yield_now();
            handle.stop("ada", "next").unwrap();
            phase.fetch_add(1, SeqCst);
        }
        is_done.store(true, SeqCst);
    });
    assert_eq!(handle.status().held, 0);
    assert!(hits.load(SeqCst) >= 100);
}
