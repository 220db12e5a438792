//! Functions are limited by a layer's handle.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{cell::Cell, convert::Infallible, future::pending, io, time::Duration};

use backstop_core::{
    Deadline, Degradation, Freshness, Reason, Scope, SetBy, Verdict, name,
    scope::{self, EndedBy},
};
use backstop_kit::{Elapsed, Progress};
use backstop_timeout::{TimeoutHandle, TimeoutLayer};
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready, task};

const LIMIT: Duration = Duration::from_millis(100);
const MOMENT: Duration = Duration::from_millis(1);

fn timeout() -> TimeoutHandle {
    TimeoutLayer::builder("db").limit(LIMIT).build().unwrap().handle()
}

/// Notes why it was dropped.
struct NotesEnd<'a>(&'a Cell<Option<EndedBy>>);

impl Drop for NotesEnd<'_> {
    fn drop(&mut self) {
        self.0.set(scope::ended_by());
    }
}

#[tokio::test(start_paused = true)]
async fn a_function_that_answers_in_time_is_not_ended() {
    let timeout = timeout();
    let answer = timeout.call(async || {
        sleep(LIMIT - MOMENT).await;
        Ok::<_, Infallible>(7)
    });
    assert_eq!(answer.await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn a_hung_function_is_ended_at_the_limit_and_that_is_a_failure() {
    let timeout = timeout();
    let (start, ended_by) = (Instant::now(), Cell::new(None));
    let late = timeout.call(async || {
        let _noted = NotesEnd(&ended_by);
        pending::<io::Result<()>>().await
    });
    let late = late.await.unwrap_err();
    let rejection = late.rejection().unwrap();
    assert_eq!((start.elapsed(), ended_by.get()), (LIMIT, Some(EndedBy::OurLimit)));
    assert_eq!((rejection.by().as_str(), rejection.reason()), ("db", Reason::TIMEOUT));
    assert_eq!(rejection.detail(), Some(&Elapsed::new(SetBy::Us, Progress::Called)));
    assert_eq!(rejection.outcome().verdict, Verdict::Failure);
}

#[tokio::test(start_paused = true)]
async fn the_callers_earlier_deadline_ends_it_and_says_nothing_about_the_dependency() {
    let timeout = timeout();
    let mut scope = Scope::narrowed(Deadline::after(LIMIT / 2, SetBy::Caller));
    let mut hung = task::spawn(timeout.call(pending::<io::Result<()>>));
    scope.enter(|| assert_pending!(hung.poll()));
    tokio::time::advance(LIMIT / 2 + MOMENT).await;
    let late = scope.enter(|| assert_ready!(hung.poll())).unwrap_err();
    assert_eq!(late.rejection().unwrap().detail(), Some(&Elapsed::new(SetBy::Caller, Progress::Called)));
    assert_eq!(late.rejection().unwrap().outcome().verdict, Verdict::Neutral);

    // It has passed: the function isn't called any more.
    let mut late = task::spawn(timeout.call(|| -> std::future::Ready<io::Result<()>> { panic!("called") }));
    let late = scope.enter(|| assert_ready!(late.poll())).unwrap_err();
    assert_eq!(late.rejection().unwrap().detail(), Some(&Elapsed::new(SetBy::Caller, Progress::NotAsked)));
}

#[tokio::test(start_paused = true)]
async fn a_function_sees_how_much_time_it_has_and_its_reports_move_outward() {
    let timeout = timeout();
    let mut scope = Scope::new();
    let report = || Degradation::new(name!("db"), name!("replica"), 1, Reason::ERROR, Freshness::Degraded);
    let mut call = task::spawn(timeout.call(async || {
        scope::report(report());
        Ok::<_, Infallible>(scope::time_left())
    }));
    assert_eq!(scope.enter(|| assert_ready!(call.poll())).unwrap(), Some(LIMIT));
    assert_eq!(scope.take_reports().len(), 1);
}

#[tokio::test(start_paused = true)]
#[should_panic = "polled after it had ended"]
async fn a_call_that_was_ended_is_not_begun_again() {
    let timeout = timeout();
    let mut hung = task::spawn(timeout.call(pending::<io::Result<()>>));
    assert_pending!(hung.poll());
    tokio::time::advance(LIMIT + MOMENT).await;
    _ = assert_ready!(hung.poll());
    _ = hung.poll();
}
