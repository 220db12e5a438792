//! A page that is dropped, wherever it waits.

use std::{
    cell::Cell,
    future::poll_fn,
    mem::replace,
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_circuit_breaker::CircuitBreakerLayer;
use backstop_core::Scope;
use backstop_partial::{Aggregate, Degradation, name, part};
use tokio::sync::Semaphore;

use crate::common::{Fate, dashboard};

/// Waits for the next poll.
async fn wait() {
    let mut has_waited = false;
    poll_fn(|cx| {
        cx.waker().wake_by_ref();
        if replace(&mut has_waited, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// Waits so often, and holds a permit meanwhile.
async fn waits(permits: &Semaphore, often: usize, ends: &Cell<usize>) -> Result<usize, &'static str> {
    let _permit = permits.acquire().await.map_err(|_| "closed")?;
    for _ in 0..often {
        wait().await;
    }
    ends.set(ends.get() + 1);
    Ok(often)
}

/// A page of parts that wait from 0 to 4 times, polled `polls` times and dropped. Returns whether it was ready, how many parts
/// had ended, and the reports.
fn dropped_after(polls: usize, aggregate: &Aggregate) -> (bool, usize, Vec<Degradation>) {
    let (permits, ends) = (Semaphore::new(5), Cell::new(0));
    let mut scope = Scope::new();
    let is_ready = {
        let one = |often| part(name!("one"), waits(&permits, often, &ends));
        let failing = part(name!("failing"), async { Err::<usize, _>("down") });
        let parts =
            (one(0).required(), one(1).or(0), one(2).optional(), one(3).or_default(), one(4).required(), failing.or(9));
        let mut page = pin!(aggregate.gather(parts));
        let mut cx = Context::from_waker(Waker::noop());
        (0..polls).any(|_| scope.enter_as_reader(|| page.as_mut().poll(&mut cx)).is_ready())
    };
    assert_eq!(permits.available_permits(), 5, "after {polls} polls");
    (is_ready, ends.get(), scope.take_reports())
}

#[tokio::test]
async fn it_gives_back_what_its_parts_hold_wherever_they_wait() {
    let aggregate = dashboard();
    let mut polls = 0;
    loop {
        let (is_ready, ends, reports) = dropped_after(polls, &aggregate);
        assert_eq!(is_ready, !reports.is_empty(), "only a page that is used is reported");
        if is_ready {
            assert_eq!(ends, 5);
            break;
        }
        polls += 1;
    }
    assert!(polls > 4);
    assert_eq!(aggregate.handle().failing()[0].pages, 1, "and only that is counted");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_ends_all_parts_without_a_reason() {
    let fate = Fate::default();
    let aggregate = dashboard();
    let parts = (part(name!("a"), fate.hang::<u32>()).required(), part(name!("b"), fate.hang::<u32>()).optional());
    let page = aggregate.gather(parts);
    assert!(tokio::time::timeout(crate::common::MS, page).await.is_err());
    assert_eq!(fate.ends(), [None; 2], "a circuit inside counts them as it counts any dropped call");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_with_its_page_is_free_again() {
    let circuit = CircuitBreakerLayer::new(name!("users")).handle();
    let aggregate = dashboard();
    for _ in 0..5 {
        _ = circuit.call(|| async { Err::<u32, _>(std::io::Error::other("down")) }).await;
    }
    tokio::time::advance(std::time::Duration::from_secs(100)).await;
    let probe = circuit.call(std::future::pending::<Result<u32, std::io::Error>>);
    let page = aggregate.gather((part(name!("a"), probe).required(),));
    assert!(tokio::time::timeout(crate::common::MS, page).await.is_err());
    let call = circuit.call(|| async { Ok::<_, std::io::Error>(7) });
    assert_eq!(aggregate.gather((part(name!("a"), call).required(),)).await.unwrap().into_data(), (7,));
}
