//! The permits under the model checker, which tries all interleavings with at most 3 preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg backstop_loom" CARGO_TARGET_DIR=target/loom cargo test -p backstop-bulkhead --lib --release
//! ```
//!
//! `LOOM_MAX_PREEMPTIONS` sets another number.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Wake,
    time::Duration,
};

use loom::{model::Builder, thread};

use super::*;

/// Counts its wakes. Not the model checker's counter, because it isn't part of the protocol.
#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(test);
}

/// A caller without sleeps: it is admitted now, and leaves, or it stays in line.
fn come_and_go(permits: &Permits) -> Option<(Ticket, Arc<Wakes>)> {
    if permits.try_acquire() {
        permits.release();
        return None;
    }
    let wakes = Arc::new(Wakes::default());
    match permits.acquire(&Arc::clone(&wakes).into()) {
        Acquired::Admitted => {
            permits.release();
            None
        }
        Acquired::Queued(ticket) => Some((ticket, wakes)),
        Acquired::Full => None,
    }
}

/// Callers who are still in line after all others have left were woken, and have a permit.
fn all_come_in(permits: &Permits, in_line: impl IntoIterator<Item = Option<(Ticket, Arc<Wakes>)>>) {
    let mut in_line: Vec<_> = in_line.into_iter().flatten().collect();
    in_line.sort_by_key(|(ticket, _)| *ticket);
    for (ticket, wakes) in in_line {
        assert_eq!(permits.poll(ticket, Waker::noop()), TicketState::Admitted);
        assert!(wakes.0.load(SeqCst) > 0, "a lost wake-up");
        permits.release();
    }
    assert_eq!((permits.in_use(), permits.waiting()), (0, 0));
    assert!(permits.try_acquire(), "a permit was lost, or the line was left open");
}

#[test]
fn no_permit_that_comes_back_is_missed_by_who_stands_in_line() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 2));
        let others = [(); 2].map(|()| {
            let permits = Arc::clone(&permits);
            thread::spawn(move || come_and_go(&permits))
        });
        let mine = come_and_go(&permits);
        let in_line = others.map(|other| other.join().unwrap());
        all_come_in(&permits, in_line.into_iter().chain([mine]));
    });
}

#[test]
fn a_place_in_line_that_is_given_up_while_it_is_served_loses_no_permit() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 2));
        assert!(permits.try_acquire());
        let Acquired::Queued(leaves) = permits.acquire(Waker::noop()) else { unreachable!() };
        let ends = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.release())
        };
        let comes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || come_and_go(&permits))
        };
        if !permits.leave(leaves) {
            permits.release();
        }
        ends.join().unwrap();
        all_come_in(&permits, [comes.join().unwrap()]);
    });
}

#[test]
fn a_permit_that_expires_while_its_body_ends_is_given_back_once() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 1));
        let now = Instant::now() + Duration::from_secs(60);
        assert!(permits.try_acquire());
        let body = permits.start_body(now, Duration::from_secs(1));
        let ends = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.end_body(body))
        };
        let mine = come_and_go(&permits);
        let expired = permits.take_back_expired(now);
        assert_eq!(ends.join().unwrap(), expired.is_empty());
        all_come_in(&permits, [mine]);
    });
}

#[test]
fn the_room_that_a_larger_limit_makes_is_the_lines() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 2));
        assert!(permits.try_acquire());
        let wakes = Arc::new(Wakes::default());
        let Acquired::Queued(waits) = permits.acquire(&Arc::clone(&wakes).into()) else { unreachable!() };
        let newcomer = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.try_acquire())
        };
        permits.set_limit(2);
        assert_eq!(permits.poll(waits, Waker::noop()), TicketState::Admitted);
        assert_eq!(wakes.0.load(SeqCst), 1);
        assert!(!newcomer.join().unwrap(), "it passed by who waited, or the limit");
        assert_eq!((permits.in_use(), permits.waiting()), (2, 0));
    });
}

#[test]
fn a_limit_that_sinks_and_grows_again_loses_no_permit() {
    check(|| {
        let permits = Arc::new(Permits::new(2, 2));
        let resizes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || {
                permits.set_limit(1);
                permits.set_limit(2);
            })
        };
        let comes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || come_and_go(&permits))
        };
        let mine = come_and_go(&permits);
        resizes.join().unwrap();
        all_come_in(&permits, [comes.join().unwrap(), mine]);
        assert!(permits.try_acquire() && !permits.try_acquire());
    });
}

#[test]
fn a_reload_while_calls_come_and_go_loses_no_permit_and_nobody_in_line() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 1));
        let reloads = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || permits.reload(2, Some(2)))
        };
        let comes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || come_and_go(&permits))
        };
        let mine = come_and_go(&permits);
        reloads.join().unwrap();
        all_come_in(&permits, [comes.join().unwrap(), mine]);
        assert_eq!((permits.limit(), permits.max_waiting()), (2, 2));
        assert!(permits.try_acquire() && !permits.try_acquire());
    });
}

#[test]
fn a_shorter_line_keeps_whoever_joins_it_or_refuses_them() {
    check(|| {
        let permits = Arc::new(Permits::new(1, 2));
        assert!(permits.try_acquire());
        let wakes = Arc::new(Wakes::default());
        let Acquired::Queued(waits) = permits.acquire(&Arc::clone(&wakes).into()) else { unreachable!() };
        let comes = {
            let permits = Arc::clone(&permits);
            thread::spawn(move || come_and_go(&permits))
        };
        permits.reload(1, Some(0));
        permits.release();
        all_come_in(&permits, [comes.join().unwrap(), Some((waits, wakes))]);
    });
}
