//! How long a page takes at most, and a part.

use std::time::Duration;

use backstop_core::{
    Deadline, Limit, Scope, SetBy,
    scope::{self, EndedBy, InScope},
};
use backstop_partial::{Aggregate, Part, name, part};
use tokio::time::Instant;

use crate::common::{Fate, MS, after, dashboard};

fn within(total: Duration) -> Aggregate {
    Aggregate::builder("dashboard").total(total).build().unwrap()
}

/// Runs `future` in a scope that ends after `limit`, which the caller has set.
async fn limited<F: Future>(mut scope: Scope, future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    std::future::poll_fn(|cx| scope.enter_as_reader(|| future.as_mut().poll(cx))).await
}

#[tokio::test(start_paused = true)]
async fn a_part_that_hangs_ends_at_its_own_time_and_the_others_dont() {
    let (fate, started) = (Fate::default(), Instant::now());
    let parts = (
        part(name!("hung"), fate.hang::<u32>()).timeout(70 * MS).or(0),
        part(name!("slow"), after(90 * MS, Ok::<_, &str>(1))).or(0),
    );
    let page = dashboard().gather(parts).await.unwrap();
    assert_eq!((started.elapsed(), *page.data()), (90 * MS, (0, 1)));
    assert_eq!(page.status().failures()[0].reason.as_str(), "timeout");
    assert_eq!(fate.ends(), [Some(EndedBy::OurLimit)]);
}

#[tokio::test(start_paused = true)]
async fn the_total_ends_whatever_still_runs() {
    let (fate, started) = (Fate::default(), Instant::now());
    let parts = (
        part(name!("a"), fate.hang::<u32>()).or(1),
        part(name!("b"), fate.hang::<u32>()).timeout(500 * MS).or(2),
        part(name!("c"), after(99 * MS, Ok::<_, &str>(30))).or(3),
    );
    let page = within(100 * MS).gather(parts).await.unwrap();
    assert_eq!((started.elapsed(), page.into_data()), (100 * MS, (1, 2, 30)));
    assert_eq!(fate.ends(), [Some(EndedBy::OurLimit); 2]);
}

#[tokio::test(start_paused = true)]
async fn the_callers_time_less_a_margin_ends_the_page_and_is_no_failure_of_the_part() {
    let limit = Limit::new(300 * MS, SetBy::Caller);
    for begun in [false, true] {
        let (fate, started) = (Fate::default(), Instant::now());
        let scope =
            if begun { Scope::narrowed(Deadline::after(300 * MS, SetBy::Caller)) } else { Scope::limited(limit) };
        let aggregate = within(2_000 * MS);
        let page = limited(scope, aggregate.gather((part(name!("a"), fate.hang::<u32>()).or(1),))).await.unwrap();
        assert_eq!((started.elapsed(), page.into_data()), (250 * MS, (1,)), "{begun}");
        assert_eq!(fate.ends(), [Some(EndedBy::CallersLimit)]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_without_time_polls_each_part_once() {
    let scope = Scope::narrowed(Deadline::after(20 * MS, SetBy::Caller));
    let (fate, started, aggregate) = (Fate::default(), Instant::now(), dashboard());
    let parts =
        (part(name!("ready"), async { Ok::<_, &str>(1) }).required(), part(name!("hung"), fate.hang::<u32>()).or(2));
    let page = limited(scope, aggregate.gather(parts)).await.unwrap();
    assert_eq!((started.elapsed(), page.into_data()), (Duration::ZERO, (1, 2)));
}

#[tokio::test(start_paused = true)]
async fn a_part_knows_its_time() {
    let left = |name, timeout: Option<Duration>| {
        let part = part(name, async { Ok::<_, &str>(scope::time_left().unwrap()) });
        timeout.into_iter().fold(part, Part::timeout).required()
    };
    let parts = (left(name!("own"), Some(30 * MS)), left(name!("longer"), Some(3_000 * MS)), left(name!("none"), None));
    let aggregate = within(100 * MS);
    let page = limited(Scope::limited(Limit::new(120 * MS, SetBy::Caller)), aggregate.gather(parts)).await;
    assert_eq!(page.unwrap().into_data(), (30 * MS, 70 * MS, 70 * MS));
}

#[tokio::test(start_paused = true)]
async fn a_page_that_is_ready_at_once_begins_no_time() {
    let mut outer = Scope::limited(Limit::new(300 * MS, SetBy::Caller));
    let aggregate = dashboard();
    let ready = aggregate.gather((part(name!("a"), async { Ok::<_, &str>(1) }).required(),));
    let mut ready = Box::pin(ready);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(outer.enter(|| ready.as_mut().poll(&mut cx)).is_ready());
    assert_eq!(outer.deadline_if_begun(), None);
}

#[expect(clippy::disallowed_methods, reason = "an app's own task")]
#[tokio::test(start_paused = true)]
async fn a_page_in_a_spawned_task_has_the_time_of_its_request() {
    let mut outer = Scope::narrowed(Deadline::after(150 * MS, SetBy::Caller));
    let handle = outer.enter_as_reader(scope::handle);
    let started = Instant::now();
    let page = tokio::spawn(
        async {
            let hung = std::future::pending::<Result<u32, &str>>();
            dashboard().gather((part(name!("a"), hung).or(1),)).await.unwrap().into_data()
        }
        .in_scope(handle),
    );
    assert_eq!((page.await.unwrap(), started.elapsed()), ((1,), 100 * MS));
    assert_eq!(outer.take_reports()[0].path().to_string(), "a/default");
}
