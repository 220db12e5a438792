//! Functions are repeated by a layer's handle.

use std::{cell::Cell, future::Ready, future::ready, io, time::Duration};

use backstop_core::{Degradation, Freshness, Reason, Scope, name, scope};
use backstop_retry::{Backoff, RetryBudget, RetryHandle, RetryLayer};
use backstop_test::Logs;
use tokio::time::Instant;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tracing::Level;

const WAIT: Duration = Duration::from_millis(100);

#[allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]
fn retry() -> RetryHandle {
    RetryLayer::builder("dns").backoff(Backoff::Constant).backoff_base(WAIT).build().unwrap().handle()
}

/// A function that fails `times`, then gives its number of calls.
fn failing(calls: &Cell<u32>, times: u32) -> impl FnMut() -> Ready<io::Result<u32>> {
    move || {
        calls.set(calls.get() + 1);
        let n = calls.get();
        ready(if n <= times { Err(io::Error::other(format!("failure {n}"))) } else { Ok(n) })
    }
}

#[tokio::test(start_paused = true)]
async fn only_a_transient_error_is_repeated_after_a_wait() {
    let (retry, calls, start) = (retry(), Cell::new(0), Instant::now());
    assert_eq!(retry.call(failing(&calls, 1)).await.unwrap_err().error().unwrap().to_string(), "failure 1");
    assert_eq!((calls.get(), start.elapsed()), (1, Duration::ZERO));
    calls.set(0);
    assert_eq!(retry.call(failing(&calls, 2)).transient(|_| true).await.unwrap(), 3);
    assert_eq!(start.elapsed(), 2 * WAIT);
}

#[tokio::test(start_paused = true)]
async fn the_last_error_is_returned_when_the_attempts_are_used_up() {
    let (retry, calls) = (retry(), Cell::new(0));
    let failed = retry.call(failing(&calls, 9)).transient(|_| true).await.unwrap_err();
    assert_eq!((failed.error().unwrap().to_string(), calls.get()), ("failure 3".to_owned(), 3));
}

#[tokio::test(start_paused = true)]
async fn each_call_that_may_be_repeated_pays_into_the_budget_and_each_repetition_takes_from_it() {
    let budget = RetryBudget::builder().ratio(0.5).reserve_per_second(0).burst(2).build().unwrap();
    let retry = RetryLayer::builder("dns").budget(budget.clone()).build().unwrap().handle();
    let attempts = async || {
        let calls = Cell::new(0);
        retry.call(failing(&calls, 9)).transient(|_| true).await.unwrap_err();
        calls.get()
    };
    // The burst pays for two repetitions, then every second call for one.
    assert_eq!(
        [attempts().await, attempts().await, attempts().await, attempts().await, attempts().await],
        [3, 1, 2, 1, 2]
    );
    for _ in 0..2 {
        retry.call(failing(&Cell::new(0), 0)).await.unwrap();
        retry.call(failing(&Cell::new(0), 0)).is_answer(|_| true).await.unwrap();
    }
    assert_eq!(budget.available(), 0, "no repetition can follow these");
    retry.call(failing(&Cell::new(0), 0)).transient(|_| true).await.unwrap();
    retry.call(failing(&Cell::new(0), 0)).repeat_timeouts().await.unwrap();
    assert_eq!(budget.available(), 1);
}

/// The total limits what retries take, and there is none.
#[tokio::test(start_paused = true)]
async fn a_call_that_may_not_be_repeated_has_no_total() {
    let retry = retry();
    let time_left = || ready(Ok::<_, io::Error>(scope::time_left()));
    let once = retry.call(time_left).await.unwrap();
    let more = retry.call(time_left).repeat_timeouts().await.unwrap();
    assert_eq!((once, more), (None, Some(Duration::from_secs(60))));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_in_the_last_moment_ends_with_the_total_and_the_error_before_it_is_returned() {
    let builder = RetryLayer::builder("dns").backoff(Backoff::Constant).backoff_base(WAIT).total(2 * WAIT);
    let retry = builder.build().unwrap().handle();
    let (calls, start) = (Cell::new(0), Instant::now());
    let call = retry.call(|| {
        calls.set(calls.get() + 1);
        let first = calls.get() == 1;
        async move { if first { Err::<(), _>(io::Error::other("first")) } else { std::future::pending().await } }
    });
    let failed = call.transient(|_| true).await.unwrap_err();
    assert_eq!((failed.error().unwrap().to_string(), calls.get()), ("first".to_owned(), 2));
    assert_eq!(start.elapsed(), 2 * WAIT);
}

#[tokio::test(start_paused = true)]
async fn only_the_reports_of_the_answer_move_outward() {
    let (retry, calls) = (retry(), Cell::new(0));
    let mut scope = Scope::new();
    let mut call = task::spawn(
        retry
            .call(|| {
                calls.set(calls.get() + 1);
                let source = if calls.get() == 1 { name!("first") } else { name!("second") };
                scope::report(Degradation::new(name!("dns"), source, 1, Reason::ERROR, Freshness::Degraded));
                ready(if calls.get() == 1 { Err(io::Error::other("busy")) } else { Ok(()) })
            })
            .transient(|_| true),
    );
    scope.enter(|| assert_pending!(call.poll()));
    tokio::time::advance(WAIT).await;
    scope.enter(|| assert_ready_ok!(call.poll()));
    let sources: Vec<_> = scope.take_reports().iter().map(|report| report.source().to_string()).collect();
    assert_eq!(sources, ["second"]);
}

#[tokio::test(start_paused = true)]
async fn events_have_the_text_of_the_functions_error() {
    let logs = Logs::up_to(Level::DEBUG);
    let _listening = logs.listen();
    let (retry, calls) = (retry(), Cell::new(0));
    retry.call(failing(&calls, 1)).transient(|_| true).await.unwrap();
    retry.call(failing(&Cell::new(0), 9)).await.unwrap_err();
    let events = logs.events().with_target("backstop::retry");
    let errors: Vec<_> =
        events.iter().map(|event| (event.message().to_owned(), event.field("error").map(str::to_owned))).collect();
    let failure = Some("failure 1".to_owned());
    assert_eq!(
        errors,
        [
            ("the request will be sent again".to_owned(), failure.clone()),
            ("the request won't be sent again".to_owned(), failure)
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_while_it_waits_makes_no_other_attempt() {
    let (retry, calls) = (retry(), Cell::new(0));
    let mut call = task::spawn(retry.call(failing(&calls, 9)).transient(|_| true));
    assert_pending!(call.poll());
    drop(call);
    tokio::time::advance(WAIT).await;
    assert_eq!(calls.get(), 1);
}
