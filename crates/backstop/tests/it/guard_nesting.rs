//! An error that holds a rejection, such as that of a guard inside another, counts as the rejection says.

#![cfg(all(
    feature = "axum",
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "retry",
    feature = "timeout"
))]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    cell::Cell,
    error::Error,
    fmt,
    future::{pending, ready},
    io,
    ops::{Deref, DerefMut},
    time::Duration,
};

use axum::response::IntoResponse;
use backstop::{
    CallError, CircuitBreakerLayer, CircuitState, Deadline, Guard, Reason, Rejection, SetBy, Standard, StandardHandle,
    kit::function::FunctionError, name, standard, vocabulary::Scope,
};
use backstop_test::Logs;
use http::StatusCode;
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{BoxError, Layer, ServiceExt, service_fn};
use tracing::Level;

const LIMIT: Duration = Duration::from_secs(1);

/// As an application has one, with a rejection anywhere in it.
#[derive(Debug)]
enum AppError {
    Refused(Rejection),
    Guarded(CallError<io::Error>),
    Boxed(BoxError),
    Lost,
}

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the app failed")
    }
}

impl Error for AppError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(rejection) => Some(rejection),
            Self::Guarded(error) => Some(error),
            Self::Boxed(error) => Some(&**error),
            Self::Lost => None,
        }
    }
}

/// As `anyhow::Error` is: a box that is no error itself.
#[derive(Debug)]
struct Report(BoxError);

impl Deref for Report {
    type Target = dyn Error + Send + Sync;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl DerefMut for Report {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut *self.0
    }
}

/// A guard whose circuit opens at the first failure, and its parts.
fn outer() -> (Guard, StandardHandle) {
    let stack = standard("outer").circuit_breaker(|circuit| circuit.consecutive_failures(1)).timeout(3 * LIMIT);
    let stack = stack.build().unwrap();
    (stack.guard(), stack.handle())
}

fn state(parts: &StandardHandle) -> CircuitState {
    parts.circuit_breaker().unwrap().state()
}

/// A guard whose circuit is open.
fn open() -> Guard {
    let stack = Standard::new(name!("inner"));
    stack.handle().circuit_breaker().unwrap().isolate();
    stack.guard()
}

async fn refused() -> CallError<io::Error> {
    open().call(async || Ok::<(), io::Error>(())).await.unwrap_err()
}

async fn rejection() -> Rejection {
    refused().await.rejection().unwrap().clone()
}

/// Fails with `error` in a guard that repeats any error that it is asked about.
async fn check_refusal<E: FunctionError<K> + fmt::Debug, K>(error: E) {
    let (outer, parts) = outer();
    let text = format!("{error:?}");
    let (mut error, calls) = (Some(error), Cell::new(0));
    let failing = || {
        calls.set(calls.get() + 1);
        ready(Err::<(), _>(error.take().unwrap()))
    };
    assert!(outer.call(failing).transient(|_| true).await.unwrap_err().error().is_some(), "{text}");
    assert_eq!((calls.get(), state(&parts)), (1, CircuitState::Closed), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_in_any_error_trips_nothing_and_is_not_repeated() {
    check_refusal(rejection().await).await;
    check_refusal(refused().await).await;
    check_refusal(AppError::Refused(rejection().await)).await;
    check_refusal(AppError::Guarded(refused().await)).await;
    check_refusal(AppError::Boxed(refused().await.into())).await;
    check_refusal(AppError::Boxed(AppError::Guarded(refused().await).into())).await;
    check_refusal(io::Error::other(AppError::Guarded(refused().await))).await;
    check_refusal::<BoxError, _>(refused().await.into()).await;
    check_refusal::<Box<dyn Error>, _>(AppError::Guarded(refused().await).into()).await;
    check_refusal::<Box<dyn Error + Send>, _>(Box::new(refused().await)).await;
    check_refusal(Report(AppError::Guarded(refused().await).into())).await;
    // In the error of a guard whose own errors are something else.
    check_refusal(CallError::Failed(AppError::Guarded(refused().await))).await;
    check_refusal(CallError::<BoxError>::from(rejection().await)).await;
    check_refusal(CallError::<BoxError>::Failed(refused().await.into())).await;
    check_refusal(CallError::<&'static str>::from(rejection().await)).await;
}

#[tokio::test(start_paused = true)]
async fn any_other_error_is_a_failure_of_the_function() {
    for error in [AppError::Lost, AppError::Guarded(CallError::Failed(io::ErrorKind::BrokenPipe.into()))] {
        let (outer, parts) = outer();
        outer.call_once(|| ready(Err::<(), _>(error))).await.unwrap_err();
        assert_eq!(state(&parts), CircuitState::Open);
    }
}

/// As an inner time limit counts through layers.
#[tokio::test(start_paused = true)]
async fn an_inner_limit_is_a_failure_that_is_repeated_only_on_request() {
    let inner = standard("inner").timeout(LIMIT).build().unwrap().guard();
    let calls = Cell::new(0);
    let late = async || {
        calls.set(calls.get() + 1);
        inner.call(pending::<io::Result<()>>).await.map_err(AppError::Guarded)
    };
    let (outer, parts) = outer();
    outer.call(late).transient(|_| true).await.unwrap_err();
    assert_eq!((calls.get(), state(&parts)), (1, CircuitState::Open));

    let outer = Standard::new(name!("patient")).guard();
    calls.set(0);
    let start = Instant::now();
    // The outer limit is the inner one's, and the inner one ends the call first.
    outer.call(late).repeat_timeouts().await.unwrap_err();
    assert_eq!(calls.get(), 3);
    assert!(start.elapsed() >= 3 * LIMIT);
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_in_an_inner_guard_trips_nothing() {
    let inner = standard("inner").timeout(2 * LIMIT).build().unwrap().guard();
    let (outer, parts) = outer();
    let mut scope = Scope::narrowed(Deadline::after(LIMIT, SetBy::Caller));
    let nested = async || inner.call(pending::<io::Result<()>>).await.map_err(AppError::Guarded);
    let mut call = task::spawn(outer.call(nested));
    scope.enter(|| assert_pending!(call.poll()));
    advance(LIMIT + Duration::from_millis(1)).await;
    scope.enter(|| assert_ready!(call.poll())).unwrap_err();
    assert_eq!(state(&parts), CircuitState::Closed);
}

/// The rejection says nothing about the step before it.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_another_step_proves_nothing_and_is_no_failure_either() {
    let steps = Cell::new(0);
    let two_steps = async || {
        steps.set(steps.get() + 1);
        Err::<(), _>(refused().await)
    };
    let (outer, parts) = outer();
    let error = outer.call(two_steps).transient(|_| true).repeat_timeouts().await.unwrap_err();
    assert_eq!((steps.get(), state(&parts)), (1, CircuitState::Closed));
    let inner = error.error().unwrap().rejection().unwrap();
    assert_eq!(inner.reason(), Reason::CIRCUIT_OPEN);
    let outcome = inner.outcome();
    assert!(outcome.refused && !outcome.unprocessed && !outcome.transient);
}

/// A layer looks only into errors whose type it knows, and it knows that of a guard.
#[tokio::test(start_paused = true)]
async fn a_guards_error_counts_as_the_rejection_says_in_a_layer() {
    let layer = CircuitBreakerLayer::builder("layer").plain().consecutive_failures(1).build().unwrap();
    let inner = open();
    let service = layer.layer(service_fn(async |(): ()| inner.call(async || Ok::<(), AppError>(())).await));
    service.oneshot(()).await.unwrap_err();
    assert_eq!(layer.handle().state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_guards_error_is_the_same_response_through_another_guard() {
    let (outer, _) = outer();
    let nested = outer.call(async || Err::<(), _>(AppError::Guarded(refused().await))).await.unwrap_err();
    let response = nested.into_response();
    let direct = refused().await.into_response();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers(), direct.headers());
    let lost = outer.call(async || Err::<(), _>(AppError::Lost)).await.unwrap_err();
    assert_eq!(lost.into_response().status(), StatusCode::INTERNAL_SERVER_ERROR);
}

/// Without any rule of the guard.
#[tokio::test(start_paused = true)]
async fn the_log_has_the_text_of_an_error_of_any_type() {
    async fn logged<E: FunctionError<K>, K>(error: E) -> Option<String> {
        let logs = Logs::new();
        let _listening = logs.listen();
        let (outer, _) = outer();
        assert!(outer.call_once(|| ready(Err::<(), _>(error))).await.is_err());
        logs.events().at(Level::WARN).only().field("error").map(str::to_owned)
    }

    assert_eq!(logged(AppError::Lost).await.unwrap(), "the app failed");
    assert_eq!(logged(AppError::Boxed("no disk".into())).await.unwrap(), "the app failed: no disk");
    assert_eq!(logged(Report("no disk".into())).await.unwrap(), "no disk");
    assert_eq!(logged(CallError::Failed(AppError::Lost)).await.unwrap(), "the call failed: the app failed");
    assert_eq!(logged("no disk").await.unwrap(), "no disk");
    assert_eq!(logged("no disk\n".repeat(99)).await.unwrap().len(), 256);
}

/// A rule of one guard changes nothing for another one.
#[tokio::test(start_paused = true)]
async fn a_rule_finds_an_error_among_the_causes_of_one_of_another_type() {
    let (outer, parts) = outer();
    let outer = outer.is_answer(|error: &io::Error| error.kind() == io::ErrorKind::NotFound);
    let missing = || AppError::Guarded(CallError::Failed(io::ErrorKind::NotFound.into()));
    outer.call(async || Err::<(), _>(missing())).await.unwrap_err();
    assert_eq!(state(&parts), CircuitState::Closed);
}
