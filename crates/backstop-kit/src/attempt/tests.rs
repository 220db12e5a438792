use std::{cell::Cell, convert::Infallible, future::pending, rc::Rc, time::Duration};

use backstop_core::{Deadline, Freshness, Limit, Reason, name, scope::EndedBy};
use tokio::time::{advance, timeout};
use tower::service_fn;
use tower_service::Service;

use super::*;
use crate::ServiceCall;

struct Asks(Rc<Cell<Option<EndedBy>>>);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.set(scope::ended_by());
    }
}

fn within(ms: u64, set_by: SetBy) -> Scope {
    Scope::narrowed(Deadline::after(Duration::from_millis(ms), set_by))
}

async fn run<F: Call>(attempt: Attempt<F>) -> Result<F::Output, Elapsed> {
    let mut attempt = std::pin::pin!(attempt);
    std::future::poll_fn(|cx| attempt.as_mut().poll(cx)).await
}

/// Never ready, and never answers.
#[derive(Clone)]
struct Stuck {
    ready: bool,
}

impl Service<()> for Stuck {
    type Response = ();
    type Error = Infallible;
    type Future = std::future::Pending<Result<(), Infallible>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.ready { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    fn call(&mut self, (): ()) -> Self::Future {
        pending()
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_too_long_is_ended_and_tells_how_far_it_came_and_whose_limit_it_was() {
    for (ready, progress) in [(false, Progress::NotReady), (true, Progress::Called)] {
        for set_by in [SetBy::Us, SetBy::Caller] {
            let attempt = Attempt::start(within(50, set_by), || ServiceCall::<_, _>::when_ready(Stuck { ready }, ()));
            let begun = Instant::now();
            assert_eq!(run(attempt).await, Err(Elapsed { set_by, progress }));
            assert_eq!(begun.elapsed(), Duration::from_millis(50));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_limit_drops_knows_of_it_and_what_the_caller_drops_does_not() {
    for (patience, expected) in [(80, Some(EndedBy::OurLimit)), (20, None)] {
        let seen = Rc::new(Cell::new(Some(EndedBy::CallersLimit)));
        let asks = Asks(Rc::clone(&seen));
        let service = service_fn(|asks: Asks| async move {
            let _asks = asks;
            pending::<Result<(), Infallible>>().await
        });
        let attempt = Attempt::start(within(50, SetBy::Us), || ServiceCall::<_, _>::when_ready(service, asks));
        _ = timeout(Duration::from_millis(patience), run(attempt)).await;
        assert_eq!(seen.get(), expected, "after {patience} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_polled_alone_knows_its_deadline_and_is_not_ended_by_it() {
    let service = service_fn(|(): ()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok::<_, Infallible>(scope::time_left())
    });
    let attempt = Attempt::start(within(10, SetBy::Us), || ServiceCall::<_, _>::when_ready(service, ()));
    let mut attempt = std::pin::pin!(attempt);
    let left = std::future::poll_fn(|cx| attempt.as_mut().poll_call(cx)).await;
    assert_eq!(left, Ok(Some(Duration::ZERO)));
}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_only_there_when_it_is_polled_binds() {
    // As over a buffer, which calls in another task.
    let attempt = Attempt::start(Scope::new(), || ServiceCall::<_, _>::when_ready(Stuck { ready: true }, ()));
    let mut attempt = std::pin::pin!(attempt);
    let mut caller = within(50, SetBy::Caller);
    let ended = std::future::poll_fn(|cx| caller.enter(|| attempt.as_mut().poll(cx))).await;
    assert_eq!(ended, Err(Elapsed { set_by: SetBy::Caller, progress: Progress::Called }));
}

#[tokio::test(start_paused = true)]
async fn its_time_begins_when_it_is_first_pending() {
    let scope = || Scope::limited(Limit::new(Duration::from_millis(50), SetBy::Us));
    let attempt = Attempt::start(scope(), || ServiceCall::<_, _>::when_ready(Stuck { ready: true }, ()));
    advance(Duration::from_secs(1)).await;
    let begun = Instant::now();
    assert_eq!(run(attempt).await, Err(Elapsed { set_by: SetBy::Us, progress: Progress::Called }));
    assert_eq!(begun.elapsed(), Duration::from_millis(50));
}

#[tokio::test(start_paused = true)]
async fn it_is_polled_once_even_past_its_deadline() {
    let scope = within(10, SetBy::Us);
    advance(Duration::from_secs(1)).await;
    let service = service_fn(|n: u32| async move { Ok::<_, Infallible>(n + 1) });
    assert_eq!(run(Attempt::start(scope, || ServiceCall::<_, _>::when_ready(service, 1))).await, Ok(Ok(2)));
}

#[tokio::test]
async fn reports_of_an_attempt_reach_the_outer_scope_only_when_it_is_chosen() {
    let service = || {
        service_fn(|(): ()| async {
            let (chain, source) = (name!("chain"), name!("source"));
            scope::report(Degradation::new(chain, source, 1, Reason::ERROR, Freshness::Degraded));
            Ok::<_, Infallible>(())
        })
    };
    for (chosen, count) in [(true, 1), (false, 0)] {
        let mut outer = Scope::new();
        let mut attempt = Box::pin(Attempt::start(Scope::new(), || ServiceCall::<_, _>::when_ready(service(), ())));
        std::future::poll_fn(|cx| outer.enter(|| attempt.as_mut().poll(cx))).await.unwrap().unwrap();
        if chosen {
            outer.enter(|| attempt.as_mut().pass_on_reports());
        }
        assert_eq!(outer.take_reports().len(), count);
    }
}

#[tokio::test(start_paused = true)]
async fn a_scope_that_is_narrowed_meanwhile_brings_the_end_forward() {
    let stuck = || ServiceCall::<_, _>::when_ready(Stuck { ready: true }, ());
    let mut attempt = std::pin::pin!(Attempt::start(within(50, SetBy::Us), stuck));
    let begun = Instant::now();
    let mut outer = Scope::new();
    let mut poll = |outer: &mut Scope, cx: &mut Context<'_>| outer.enter(|| attempt.as_mut().poll(cx));
    std::future::poll_fn(|cx| {
        assert!(poll(&mut outer, cx).is_pending());
        Poll::Ready(())
    })
    .await;
    outer.narrow(&within(20, SetBy::Caller));
    let elapsed = std::future::poll_fn(|cx| poll(&mut outer, cx)).await.unwrap_err();
    assert_eq!((elapsed.set_by, begun.elapsed()), (SetBy::Caller, Duration::from_millis(20)));
}
