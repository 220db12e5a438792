//! How many parts run at once, and which ones first.

use std::cell::{Cell, RefCell};

use backstop_partial::{Aggregate, NOT_STARTED, name, part};
use tokio::time::Instant;

use crate::common::{Fate, MS, after};

fn at_once(parts: usize) -> Aggregate {
    Aggregate::builder("dashboard").max_concurrent(parts).total(100 * MS).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn no_more_parts_run_than_may_and_all_run() {
    let (running, most) = (Cell::new(0), Cell::new(0));
    let call = async || {
        running.set(running.get() + 1);
        most.set(most.get().max(running.get()));
        after(10 * MS, ()).await;
        running.set(running.get() - 1);
        Ok::<_, &str>(())
    };
    let started = Instant::now();
    let page = at_once(3).gather_all((0..10).map(|_| part(name!("item"), call()).required())).await.unwrap();
    assert_eq!((page.into_data().len(), most.get(), started.elapsed()), (10, 3, 40 * MS));
}

#[tokio::test(start_paused = true)]
async fn required_parts_begin_first_and_then_all_in_order() {
    let begun = RefCell::new(Vec::new());
    let call = async |i: u32| {
        begun.borrow_mut().push(i);
        after(MS, Ok::<_, &str>(i)).await
    };
    let parts = (
        part(name!("a"), call(0)).or_default(),
        part(name!("b"), call(1)).required(),
        part(name!("c"), call(2)).or_default(),
        part(name!("d"), call(3)).required(),
    );
    assert_eq!(at_once(1).gather(parts).await.unwrap().into_data(), (0, 1, 2, 3));
    assert_eq!(*begun.borrow(), [1, 3, 0, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_never_began_says_so() {
    let (fate, started) = (Fate::default(), Instant::now());
    let polled = Cell::new(false);
    let parts = (
        part(name!("hung"), fate.hang::<u32>()).or(1),
        part(name!("waits"), async {
            polled.set(true);
            Ok::<_, &str>(2)
        })
        .or(20),
    );
    let page = at_once(1).gather(parts).await.unwrap();
    let reasons: Vec<_> = page.status().failures().iter().map(|failure| failure.reason).collect();
    assert_eq!((reasons[0].as_str(), reasons[1]), ("timeout", NOT_STARTED));
    assert_eq!((started.elapsed(), polled.get(), page.into_data()), (100 * MS, false, (1, 20)));
}

#[tokio::test(start_paused = true)]
async fn a_required_part_fails_the_page_with_a_504_if_the_time_is_up() {
    let slow = |name| part(name, std::future::pending::<Result<(), &str>>());
    let quick = part(name!("quick"), std::future::pending::<Result<(), &str>>()).timeout(10 * MS);
    let parts = (quick.or_default(), slow(name!("first")).timeout(MS).optional(), slow(name!("second")).required());
    let failed = at_once(1).gather(parts).await.unwrap_err();
    assert_eq!((failed.part().as_str(), failed.reason().as_str()), ("second", "timeout"), "it began first");

    let aggregate = at_once(1);
    let parts = (slow(name!("first")).required(), slow(name!("second")).required());
    let failed = aggregate.gather(parts).await.unwrap_err();
    assert_eq!((failed.part().as_str(), failed.rejection().status().as_u16()), ("first", 504));
}

#[tokio::test]
async fn parts_that_are_ready_at_once_need_no_wait_for_their_turn() {
    let parts = (0..50).map(|i| part(name!("item"), async move { Ok::<_, &str>(i) }).required());
    let aggregate = at_once(1);
    let mut page = Box::pin(aggregate.gather_all(parts));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(page.as_mut().poll(&mut cx).is_ready());
}
