//! The permits by themselves.

#![allow(clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    task::{Wake, Waker},
    time::Duration,
};

use super::*;

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Relaxed);
    }
}

/// A caller, who counts how often it is woken.
#[derive(Default)]
struct Caller(Arc<Wakes>);

impl Caller {
    fn waker(&self) -> Waker {
        Arc::clone(&self.0).into()
    }

    fn woken(&self) -> usize {
        self.0.0.swap(0, Relaxed)
    }

    fn queue(&self, permits: &Permits) -> Ticket {
        match permits.acquire(&self.waker()) {
            Acquired::Queued(ticket) => ticket,
            other => panic!("{other:?}"),
        }
    }

    fn poll(&self, permits: &Permits, ticket: Ticket) -> TicketState {
        permits.poll(ticket, &self.waker())
    }
}

const WAITING: TicketState = TicketState::Waiting { look_again: None };

/// Far from the clock's start, which may be close.
fn in_seconds(seconds: u64) -> Instant {
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now) + Duration::from_secs(1_000 + seconds)
}

/// A permit that expires at `until`, a second after its body began.
fn start_body(permits: &Permits, until: Instant) -> Ticket {
    permits.start_body(until, Duration::from_secs(1))
}

#[test]
fn a_permit_that_comes_back_goes_to_the_first_in_line_and_to_nobody_else() {
    let permits = Permits::new(1, 2);
    assert!(permits.try_acquire());
    let (first, second) = (Caller::default(), Caller::default());
    let (one, two) = (first.queue(&permits), second.queue(&permits));
    assert_eq!(permits.acquire(Waker::noop()), Acquired::Full);

    permits.release();
    assert_eq!((first.woken(), second.woken(), permits.in_use()), (1, 0, 1));
    assert!(!permits.try_acquire(), "it is taken, though nobody has come for it yet");
    assert_eq!((first.poll(&permits, one), second.poll(&permits, two)), (TicketState::Admitted, WAITING));
    permits.release();
    assert_eq!(second.poll(&permits, two), TicketState::Admitted);
    permits.release();
    assert_eq!((permits.in_use(), permits.waiting()), (0, 0));
    assert!(permits.try_acquire(), "nobody waits any more");
}

#[test]
fn who_leaves_the_line_says_whether_it_had_a_permit_already() {
    let permits = Permits::new(1, 2);
    assert!(permits.try_acquire());
    let caller = Caller::default();
    let (one, two) = (caller.queue(&permits), caller.queue(&permits));
    assert!(permits.leave(one));
    permits.release();
    assert!(!permits.leave(two), "it was its turn");
    let three = caller.queue(&permits);
    assert!(permits.leave(three));
    assert!(!permits.word().is_queued(), "nobody waits any more");
    permits.release();
    assert_eq!((permits.in_use(), permits.waiting()), (0, 0));
    assert!(permits.try_acquire());
}

#[test]
fn a_smaller_limit_throws_nobody_out_and_a_larger_one_lets_the_line_in() {
    let permits = Permits::new(3, 3);
    for _ in 0..3 {
        assert!(permits.try_acquire());
    }
    let callers: [Caller; 3] = Default::default();
    let tickets = callers.each_ref().map(|caller| caller.queue(&permits));
    permits.set_limit(1);
    for in_use in [2, 1] {
        permits.release();
        assert_eq!((permits.in_use(), permits.waiting()), (in_use, 3));
    }
    permits.release();
    assert_eq!((permits.in_use(), permits.waiting(), callers[0].woken()), (1, 2, 1));

    permits.set_limit(2);
    assert_eq!((permits.in_use(), permits.waiting(), callers[1].woken(), callers[2].woken()), (2, 1, 1, 0));
    permits.set_limit(9);
    assert_eq!((permits.in_use(), permits.waiting(), permits.limit()), (3, 0, 9));
    for (caller, ticket) in callers.iter().zip(tickets) {
        assert_eq!(caller.poll(&permits, ticket), TicketState::Admitted);
    }
    assert!(permits.try_acquire(), "nobody waits any more");
}

#[test]
fn a_permit_that_has_expired_is_taken_back_once() {
    let permits = Permits::new(1, 1);
    assert!(permits.try_acquire());
    let body = start_body(&permits, in_seconds(1));
    assert_eq!(permits.take_back_expired(in_seconds(0)).len(), 0);
    let caller = Caller::default();
    let ticket = caller.queue(&permits);
    assert_eq!(permits.take_back_expired(in_seconds(2)).len(), 1);
    assert_eq!((caller.woken(), caller.poll(&permits, ticket)), (1, TicketState::Admitted));
    assert_eq!(permits.take_back_expired(in_seconds(3)).len(), 0);
    assert!(!permits.end_body(body), "it is another's by now");
    assert_eq!(permits.in_use(), 1);
}

#[test]
fn the_first_in_line_looks_after_the_permits_that_expire() {
    let permits = Permits::new(2, 2);
    assert!(permits.try_acquire() && permits.try_acquire());
    let (first, second) = (Caller::default(), Caller::default());
    let (one, two) = (first.queue(&permits), second.queue(&permits));
    assert_eq!(first.poll(&permits, one), WAITING);

    let (soon, later) = (in_seconds(1), in_seconds(2));
    let body = start_body(&permits, soon);
    assert_eq!((first.woken(), second.woken()), (1, 0), "it must learn of the first such permit");
    assert_eq!(first.poll(&permits, one), TicketState::Waiting { look_again: Some(soon) });
    assert_eq!(second.poll(&permits, two), WAITING);
    start_body(&permits, later);
    assert_eq!((first.woken(), second.woken()), (0, 0), "it looks at the first, and then at the next");

    assert!(permits.leave(one));
    assert_eq!(second.woken(), 1, "it is the first in line now");
    assert_eq!(second.poll(&permits, two), TicketState::Waiting { look_again: Some(soon) });
    assert!(permits.end_body(body));
    assert_eq!((second.woken(), second.poll(&permits, two)), (1, TicketState::Admitted));
}

#[test]
fn the_first_in_line_learns_again_of_such_permits_after_there_were_none() {
    let permits = Permits::new(2, 1);
    assert!(permits.try_acquire() && permits.try_acquire());
    let body = start_body(&permits, in_seconds(1));
    let caller = Caller::default();
    let ticket = caller.queue(&permits);
    assert!(matches!(caller.poll(&permits, ticket), TicketState::Waiting { look_again: Some(_) }));
    permits.set_limit(1);
    assert!(permits.end_body(body));
    assert_eq!((caller.woken(), caller.poll(&permits, ticket)), (0, WAITING));
    start_body(&permits, in_seconds(2));
    assert_eq!(caller.woken(), 1);
}

#[test]
fn the_first_in_line_learns_of_a_permit_that_expires_before_older_ones() {
    let permits = Permits::new(2, 1);
    assert!(permits.try_acquire() && permits.try_acquire());
    permits.start_body(in_seconds(60), Duration::from_secs(60));
    let caller = Caller::default();
    let ticket = caller.queue(&permits);
    assert_eq!(caller.poll(&permits, ticket), TicketState::Waiting { look_again: Some(in_seconds(60)) });
    permits.start_body(in_seconds(6), Duration::from_secs(5));
    assert_eq!(caller.woken(), 1, "it would look too late");
    assert_eq!(caller.poll(&permits, ticket), TicketState::Waiting { look_again: Some(in_seconds(6)) });
    assert_eq!(permits.take_back_expired(in_seconds(6)), [Duration::from_secs(5)]);
    assert_eq!(caller.poll(&permits, ticket), TicketState::Admitted);
}

#[test]
fn a_shorter_line_sends_nobody_away() {
    let permits = Permits::new(1, 2);
    assert!(permits.try_acquire());
    let callers: [Caller; 2] = Default::default();
    let tickets = callers.each_ref().map(|caller| caller.queue(&permits));
    permits.reload(1, Some(0));
    assert_eq!((permits.waiting(), permits.acquire(Waker::noop())), (2, Acquired::Full));
    for (caller, ticket) in callers.iter().zip(tickets) {
        permits.release();
        assert_eq!(caller.poll(&permits, ticket), TicketState::Admitted);
    }
    permits.reload(2, Some(1));
    assert!(permits.try_acquire());
    assert!(matches!(permits.acquire(Waker::noop()), Acquired::Queued(_)));
}

#[test]
fn a_waker_that_is_replaced_may_come_back_to_the_permits_when_it_is_dropped() {
    struct Reenters(Arc<Permits>);

    impl Wake for Reenters {
        fn wake(self: Arc<Self>) {}
    }

    impl Drop for Reenters {
        fn drop(&mut self) {
            assert_eq!(self.0.limit(), 1);
            // Takes the lock.
            self.0.waiting();
        }
    }

    let permits = Arc::new(Permits::new(1, 2));
    let waker = || Waker::from(Arc::new(Reenters(Arc::clone(&permits))));
    assert!(permits.try_acquire());
    let Acquired::Queued(one) = permits.acquire(&waker()) else { panic!("there is room in line") };
    let Acquired::Queued(two) = permits.acquire(&waker()) else { panic!("there is room in line") };
    assert_eq!(permits.acquire(&waker()), Acquired::Full);
    assert_eq!(permits.poll(one, &waker()), WAITING);
    assert!(permits.leave(one));
    permits.release();
    assert_eq!(permits.poll(two, &waker()), TicketState::Admitted);
}
