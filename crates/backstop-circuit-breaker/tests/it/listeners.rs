//! Who subscribes learns of the latest state, or of each transition in order.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    sync::{Arc, Mutex},
    task::{Context, Wake, Waker},
    thread,
};

use backstop_circuit_breaker::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, Transition, TransitionReason, name,
};
use tokio_test::{assert_pending, assert_ready, task};

use CircuitState::{Closed, Isolated};

fn handle() -> CircuitBreakerHandle {
    CircuitBreakerLayer::new(name!("upstream")).handle()
}

#[test]
fn a_subscriber_sees_the_latest_state() {
    let handle = handle();
    handle.isolate();
    let mut first = handle.subscribe();
    assert_eq!(first.state(), Isolated);
    handle.close();
    let mut second = handle.subscribe();
    assert!(first.has_changed());
    assert_eq!((first.state(), second.state()), (Closed, Closed));
    handle.reset();
    assert!(!first.has_changed());
}

#[test]
fn each_transition_is_told_once_and_in_order() {
    let handle = handle();
    handle.isolate();
    let mut events = handle.events();
    assert_eq!(events.try_next(), None);
    handle.close();
    handle.reset();
    handle.isolate();
    let seen: Vec<_> = std::iter::from_fn(|| events.try_next()).collect();
    let described: Vec<_> = seen.iter().map(|event| (event.seq, event.from, event.to, event.reason)).collect();
    let manual = TransitionReason::Manual;
    assert_eq!(described, [(2, Isolated, Closed, manual), (3, Closed, Isolated, manual)]);
}

#[test]
fn a_reader_waits_for_the_next_transition_and_may_give_up_waiting() {
    let handle = handle();
    let mut events = handle.events();
    let mut next = task::spawn(events.next());
    assert_pending!(next.poll());
    handle.isolate();
    assert!(next.is_woken());
    drop(next);
    let mut next = task::spawn(events.next());
    assert_eq!(assert_ready!(next.poll()).to, Isolated);
}

#[test]
fn a_slow_reader_sees_in_the_numbers_what_it_missed() {
    let handle = handle();
    let mut events = handle.events();
    for _ in 0..100 {
        handle.isolate();
        handle.close();
    }
    let seen: Vec<_> = std::iter::from_fn(|| events.try_next()).map(|event| event.seq).collect();
    assert_eq!(seen, (137..=200).collect::<Vec<_>>());
}

#[test]
fn transitions_of_many_threads_come_in_order() {
    let handle = handle();
    let mut events = handle.events();
    let mut state = handle.subscribe();
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let handle = handle.clone();
            thread::spawn(move || {
                for _ in 0..2_000 {
                    handle.isolate();
                    handle.close();
                }
            })
        })
        .collect();
    let mut last: Option<Transition> = None;
    let mut read = |events: &mut backstop_circuit_breaker::Events| {
        while let Some(event) = events.try_next() {
            if let Some(last) = last {
                assert!(event.seq > last.seq && event.generation > last.generation);
                assert!(event.seq > last.seq + 1 || event.from == last.to);
            }
            last = Some(event);
        }
    };
    while threads.iter().any(|thread| !thread.is_finished()) {
        read(&mut events);
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    read(&mut events);
    assert_eq!(last.unwrap().to, handle.state());
    assert_eq!(state.state(), handle.state());
}

/// A listener that is run by its own waking, and looks at the circuit and changes it.
struct Meddler(Mutex<Option<CircuitBreakerHandle>>);

impl Wake for Meddler {
    fn wake(self: Arc<Self>) {
        let Some(handle) = self.0.lock().unwrap().take() else {
            return;
        };
        _ = (handle.counts(), handle.generation(), handle.remaining_wait(), handle.state());
        handle.close();
    }
}

#[test]
fn listeners_run_under_no_lock() {
    let handle = handle();
    let (mut events, mut state) = (handle.events(), handle.subscribe());
    for which in [0, 1] {
        let waker = Waker::from(Arc::new(Meddler(Mutex::new(Some(handle.clone())))));
        let mut cx = Context::from_waker(&waker);
        state.state();
        while events.try_next().is_some() {}
        let mut next = Box::pin(events.next());
        let mut changed = Box::pin(state.changed());
        let pending = if which == 0 {
            Future::poll(next.as_mut(), &mut cx).is_pending()
        } else {
            Future::poll(changed.as_mut(), &mut cx).is_pending()
        };
        assert!(pending);
        handle.isolate();
        assert_eq!(handle.state(), Closed);
    }
}
