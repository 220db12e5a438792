//! Whose limit binds a call, and what is said when it passes.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_kit::{Elapsed, Progress};
use std::{
    convert::Infallible,
    future::pending,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use backstop_core::{Deadline, Degradation, Freshness, Outcome, Reason, Rejection, Scope, SetBy, name, scope};
use backstop_timeout::{TimeoutConfig, TimeoutLayer};
use http::{Request, Response, StatusCode, Version};
use tokio::time::{Instant, advance, sleep};
use tower::{BoxError, Layer, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_millis(100);

fn layer() -> TimeoutLayer {
    TimeoutLayer::builder("upstream").limit(LIMIT).build().unwrap()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

async fn after(answer: Duration) -> Result<Response<String>, Infallible> {
    sleep(answer).await;
    Ok(Response::new("answer".to_owned()))
}

fn passed(set_by: SetBy, progress: Progress) -> Elapsed {
    Elapsed::new(set_by, progress)
}

fn rejection<B>(response: &Response<B>) -> &Rejection {
    response.extensions().get().unwrap()
}

/// Serves one request in a scope with a deadline of the caller's.
async fn within<F: Future>(deadline: Deadline, call: impl FnOnce() -> F) -> (F::Output, Vec<Degradation>) {
    let mut scope = Scope::narrowed(deadline);
    let mut future = std::pin::pin!(scope.enter(call));
    let output = std::future::poll_fn(|cx| scope.enter(|| future.as_mut().poll(cx))).await;
    let reports = scope.take_reports();
    (output, reports)
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_time_is_passed_on_as_it_is() {
    let service = layer().layer(service_fn(|()| async { after(ms(99)).await }).map_request(|_: Request<()>| ()));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.body(), "answer");
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_is_ended_at_the_limit_and_counts_as_a_failure_that_may_have_been_processed() {
    let begun = Instant::now();
    let hung = service_fn(|_: Request<()>| after(ms(3_600_000)));
    let response = layer().layer(hung).oneshot(Request::new(())).await.unwrap();
    assert_eq!(begun.elapsed(), LIMIT);
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(rejection(&response).by(), "upstream");
    assert_eq!(rejection(&response).detail::<Elapsed>(), Some(&passed(SetBy::Us, Progress::Called)));
    assert_eq!(rejection(&response).outcome(), Outcome::failure().transient());
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_one_second_unless_set() {
    let begun = Instant::now();
    let hung = service_fn(|_: Request<()>| after(ms(3_600_000)));
    TimeoutLayer::new(name!("upstream")).layer(hung).oneshot(Request::new(())).await.unwrap();
    assert_eq!(begun.elapsed(), ms(1000));
    assert_eq!(TimeoutConfig::new("upstream").limit, ms(1000));
}

#[tokio::test(start_paused = true)]
async fn a_callers_shorter_deadline_ends_the_call_and_counts_for_nothing() {
    let begun = Instant::now();
    let hung = layer().layer(service_fn(|_: Request<()>| after(ms(3_600_000))));
    let deadline = Deadline::after(ms(3), SetBy::Caller);
    let (response, _) = within(deadline, || hung.oneshot(Request::new(()))).await;
    assert_eq!(begun.elapsed(), ms(3));
    let response = response.unwrap();
    assert_eq!(rejection(&response).detail::<Elapsed>(), Some(&passed(SetBy::Caller, Progress::Called)));
    assert_eq!(rejection(&response).outcome(), Outcome::neutral());
}

#[tokio::test(start_paused = true)]
async fn a_callers_longer_deadline_excuses_nothing() {
    for deadline in [LIMIT, ms(5000)] {
        let begun = Instant::now();
        let hung = layer().layer(service_fn(|_: Request<()>| after(ms(3_600_000))));
        let deadline = Deadline::after(deadline, SetBy::Caller);
        let (response, _) = within(deadline, || hung.oneshot(Request::new(()))).await;
        assert_eq!(begun.elapsed(), LIMIT);
        assert_eq!(rejection(&response.unwrap()).detail::<Elapsed>(), Some(&passed(SetBy::Us, Progress::Called)));
    }
}

#[tokio::test(start_paused = true)]
async fn past_its_deadline_a_request_is_refused_without_calling_the_service() {
    for set_by in [SetBy::Us, SetBy::Caller] {
        let calls = AtomicUsize::new(0);
        let service = layer().layer(service_fn(|_: Request<()>| {
            calls.fetch_add(1, Relaxed);
            after(Duration::ZERO)
        }));
        let deadline = Deadline::after(ms(5), set_by);
        advance(ms(5)).await;
        let (response, _) = within(deadline, || service.oneshot(Request::new(()))).await;
        let response = response.unwrap();
        assert_eq!(calls.load(Relaxed), 0);
        assert_eq!(rejection(&response).detail::<Elapsed>(), Some(&passed(set_by, Progress::NotAsked)));
        assert_eq!(rejection(&response).outcome(), Outcome::refusal());
    }
}

#[tokio::test(start_paused = true)]
async fn the_call_runs_in_a_scope_narrowed_to_the_limit() {
    let service = layer().layer(service_fn(|_: Request<()>| async {
        Ok::<_, Infallible>(Response::new(format!("{:?}", scope::time_left())))
    }));
    let far = Deadline::after(ms(5000), SetBy::Caller);
    let (response, _) = within(far, || service.clone().oneshot(Request::new(()))).await;
    assert_eq!(response.unwrap().body(), "Some(100ms)");
    let near = Deadline::after(ms(7), SetBy::Caller);
    let (response, _) = within(near, || service.oneshot(Request::new(()))).await;
    assert_eq!(response.unwrap().body(), "Some(7ms)");
}

#[tokio::test(start_paused = true)]
async fn what_an_answered_call_reported_moves_up_and_what_an_ended_one_reported_is_lost() {
    for (takes, expected) in [(ms(20), 1), (ms(200), 0)] {
        let service = layer().layer(service_fn(move |_: Request<()>| async move {
            let (chain, source) = (name!("prices"), name!("cached"));
            scope::report(Degradation::new(chain, source, 1, Reason::TIMEOUT, Freshness::Degraded));
            after(takes).await
        }));
        let deadline = Deadline::after(ms(5000), SetBy::Us);
        let (_, reports) = within(deadline, || service.oneshot(Request::new(()))).await;
        assert_eq!(reports.len(), expected, "a call of {takes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_grpc_request_gets_a_deadline_exceeded_status() {
    let hung = layer().layer(service_fn(|_: Request<()>| after(ms(3_600_000))));
    let request = Request::post("http://upstream/a.B/C").version(Version::HTTP_2);
    let request = request.header("content-type", "application/grpc+proto").body(()).unwrap();
    let response = hung.oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(response.headers()["grpc-status"], "4");
    assert!(!response.headers().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_speaks_no_http_is_rejected_with_its_own_error_or_value() {
    let hung = service_fn(|n: u32| async move {
        pending::<()>().await;
        Ok::<u32, BoxError>(n)
    });
    let plain = TimeoutLayer::builder("upstream").limit(LIMIT).plain();
    let error = plain.clone().build().unwrap().layer(hung).oneshot(1).await.unwrap_err();
    let rejection = error.downcast::<Rejection>().unwrap();
    assert_eq!(rejection.detail::<Elapsed>(), Some(&passed(SetBy::Us, Progress::Called)));

    let hung = service_fn(|_: &'static str| pending::<Result<String, Infallible>>());
    let with = plain.reject_with(|r: Rejection| Ok(r.to_string()));
    assert_eq!(with.build().unwrap().layer(hung).oneshot("hello").await, Ok("upstream took too long".to_owned()));
}

#[test]
fn limits_that_cannot_work_are_refused() {
    let limit = |limit| TimeoutLayer::builder("upstream").limit(limit).build().map(|_| ());
    for good in [ms(1), ms(3_600_000)] {
        assert_eq!(limit(good), Ok(()));
    }
    for bad in [Duration::ZERO, Duration::from_micros(999), ms(3_600_001), Duration::MAX] {
        assert_eq!(limit(bad).unwrap_err().field, "limit", "{bad:?}");
    }
    assert_eq!(TimeoutLayer::builder("up stream").build().unwrap_err().field, "name");
    let mut config = TimeoutConfig::new("upstream");
    config.limit = Duration::ZERO;
    assert_eq!(TimeoutLayer::from_config(config).unwrap_err().field, "limit");
}
