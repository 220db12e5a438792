//! A property: whatever the parts do, a page is what an oracle says, and takes as long as it says.

use std::{
    cell::Cell,
    collections::VecDeque,
    future::{pending, poll_fn},
    panic::resume_unwind,
    pin::pin,
    time::Duration,
};

use backstop_core::{Deadline, Degradation, Freshness, Reason, Scope, SetBy, scope};
use backstop_partial::{Aggregate, Name, name, part};
use proptest::prelude::*;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{NAMES, paths};

const PARTS: usize = 8;
const REQUIRED: [bool; PARTS] = [false, true, false, false, true, false, false, false];
/// The sources of the values that take their places.
const SOURCES: [&str; PARTS] = ["default", "", "none", "default", "", "default", "none", "default"];

/// What a part does. Times are in ms.
#[derive(Clone, Copy, Debug)]
struct Plan {
    /// `None`: it hangs.
    takes: Option<u64>,
    end: End,
    timeout: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Answers,
    /// It answers, and reports that a chain of its own did.
    AnswersFromCache,
    Fails,
    Panics,
}

impl End {
    const fn is_failure(self) -> bool {
        matches!(self, Self::Fails | Self::Panics)
    }
}

#[derive(Clone, Debug)]
struct Request {
    plans: [Plan; PARTS],
    total: u64,
    /// What the caller allows.
    allowed: Option<u64>,
    max_concurrent: usize,
}

/// The values of a page, `None` for those that were replaced, and its labels. Or the part that fails it.
type Expected = Result<([Option<usize>; PARTS], Vec<String>), usize>;

fn plan() -> impl Strategy<Value = Plan> {
    let end = prop_oneof![
        6 => Just(End::Answers),
        2 => Just(End::AnswersFromCache),
        2 => Just(End::Fails),
        1 => Just(End::Panics),
    ];
    let takes = prop_oneof![3 => Just(Some(0)), 6 => (1..60_u64).prop_map(Some), 1 => Just(None)];
    (takes, end, prop::option::weighted(0.3, 1..60_u64)).prop_map(|(takes, end, timeout)| Plan { takes, end, timeout })
}

fn request() -> impl Strategy<Value = Request> {
    let max_concurrent = prop_oneof![Just(usize::MAX), 1..=PARTS];
    (prop::array::uniform8(plan()), 1..100_u64, prop::option::of(51..200_u64), max_concurrent)
        .prop_map(|(plans, total, allowed, max_concurrent)| Request { plans, total, allowed, max_concurrent })
}

/// How a part that began at `began` has ended by `now`.
fn end_of(plan: Plan, began: u64, now: u64, total: u64) -> Option<End> {
    let until = plan.timeout.map_or(total, |timeout| total.min(began + timeout));
    match plan.takes {
        Some(takes) if now >= began + takes => Some(plan.end),
        _ => (now >= until).then_some(End::Fails),
    }
}

/// Simulates a page, ms by ms: when it ends, and how.
fn oracle(request: &Request) -> (u64, Expected) {
    let total = request.allowed.map_or(request.total, |allowed| request.total.min(allowed - 50));
    let (required, others): (Vec<_>, Vec<_>) = (0..PARTS).partition(|i| REQUIRED[*i]);
    let mut waiting: VecDeque<_> = required.into_iter().chain(others).collect();
    let mut running: Vec<(usize, u64)> = Vec::new();
    let mut ends = [None; PARTS];
    let failed =
        |ends: &[Option<End>; PARTS]| (0..PARTS).find(|i| REQUIRED[*i] && ends[*i].is_some_and(End::is_failure));
    for now in 0..=total {
        running.retain(|(i, began)| {
            ends[*i] = end_of(request.plans[*i], *began, now, total);
            ends[*i].is_none()
        });
        while running.len() < request.max_concurrent
            && failed(&ends).is_none()
            && let Some(i) = waiting.pop_front()
        {
            ends[i] = if now == total { Some(End::Fails) } else { end_of(request.plans[i], now, now, total) };
            if ends[i].is_none() {
                running.push((i, now));
            }
        }
        if let Some(i) = failed(&ends) {
            return (now, Err(i));
        }
        if ends.iter().all(Option::is_some) {
            return (now, Ok(page_of(ends.map(Option::unwrap))));
        }
    }
    unreachable!("a page has ended when its total has passed")
}

fn page_of(ends: [End; PARTS]) -> ([Option<usize>; PARTS], Vec<String>) {
    let label = |i: usize| match ends[i] {
        End::Answers => None,
        End::AnswersFromCache => Some(format!("{}/cached", NAMES[i])),
        End::Fails | End::Panics => Some(format!("{}/{}", NAMES[i], SOURCES[i])),
    };
    (std::array::from_fn(|i| (!ends[i].is_failure()).then_some(i)), (0..PARTS).filter_map(label).collect())
}

/// Counts what is alive.
struct Alive<'a>(&'a Cell<usize>);

impl<'a> Alive<'a> {
    fn new(alive: &'a Cell<usize>) -> Self {
        alive.set(alive.get() + 1);
        Self(alive)
    }
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

async fn run(plan: Plan, i: usize, alive: &Cell<usize>) -> Result<usize, &'static str> {
    let _alive = Alive::new(alive);
    match plan.takes {
        None => pending().await,
        Some(0) => {}
        Some(ms) => sleep(Duration::from_millis(ms)).await,
    }
    match plan.end {
        End::Answers => Ok(i),
        End::AnswersFromCache => {
            let (chain, source) = (name!("chain"), name!("cached"));
            scope::report(Degradation::new(chain, source, 1, Reason::TIMEOUT, Freshness::Degraded));
            Ok(i)
        }
        End::Fails => Err("it fails"),
        // Without the message of a panic, since there are many.
        End::Panics => resume_unwind(Box::new("it panics")),
    }
}

/// Gathers the parts of `request`, until `left`, if the caller leaves. Checks that nothing is alive then.
async fn gather(request: &Request, left: Duration) -> Option<Expected> {
    let alive = Cell::new(0);
    let aggregate = Aggregate::builder("page")
        .total(Duration::from_millis(request.total))
        .max_concurrent(request.max_concurrent)
        .build()
        .unwrap();
    let one = |i: usize| {
        let plan = request.plans[i];
        let part = part(NAMES[i].parse::<Name>().unwrap(), run(plan, i, &alive));
        plan.timeout.map(Duration::from_millis).into_iter().fold(part, backstop_partial::Part::timeout)
    };
    let replaced = usize::MAX;
    let parts = (
        one(0).or(replaced),
        one(1).required(),
        one(2).optional(),
        one(3).or_else(|_| replaced),
        one(4).required(),
        one(5).or(replaced),
        one(6).optional(),
        one(7).or_else(|_| replaced),
    );
    let mut scope = match request.allowed {
        Some(ms) => Scope::narrowed(Deadline::after(Duration::from_millis(ms), SetBy::Caller)),
        None => Scope::new(),
    };
    let gathered = {
        let mut page = pin!(timeout(left, aggregate.gather(parts)));
        // The limit of this test isn't a limit of the request's.
        poll_fn(|cx| scope.enter_as_reader(|| page.as_mut().poll(cx))).await
    };
    assert_eq!(alive.get(), 0, "something still runs");
    let labels = paths(&scope.take_reports());
    let Ok(gathered) = gathered else {
        assert!(labels.is_empty(), "a page that was given up has no labels");
        return None;
    };
    Some(match gathered {
        Ok(page) => {
            assert_eq!(page.status().is_degraded(), !labels.is_empty());
            let (a, b, c, d, e, f, g, h) = page.into_data();
            let own = |value: usize| (value != replaced).then_some(value);
            Ok(([own(a), own(b), c, own(d), own(e), own(f), g, own(h)], labels))
        }
        Err(failed) => {
            assert!(labels.is_empty(), "a page that failed has no labels");
            Err(NAMES.iter().position(|name| failed.part() == name).unwrap())
        }
    })
}

fn in_paused_time<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

proptest! {
    #[test]
    fn a_page_is_what_an_oracle_says_in_the_time_that_it_says(request in request()) {
        in_paused_time(async {
            let (ends, expected) = oracle(&request);
            let started = Instant::now();
            let page = gather(&request, Duration::from_secs(60)).await;
            prop_assert_eq!(page, Some(expected));
            prop_assert_eq!(started.elapsed(), Duration::from_millis(ends));
            Ok(())
        })?;
    }

    #[test]
    fn a_page_that_is_given_up_leaves_nothing_behind(request in request(), left in 0..100_u64) {
        in_paused_time(async {
            let (ends, expected) = oracle(&request);
            let page = gather(&request, Duration::from_millis(left)).await;
            // When both happen at once, the page is first.
            prop_assert_eq!(page, (left >= ends).then_some(expected));
            Ok(())
        })?;
    }
}
