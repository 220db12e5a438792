//! The standard stack for functions.

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
    fmt,
    future::{Ready, pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use axum::{Router, body::Body, extract::State, http::Request, routing::get};
use backstop::{
    CallError, CircuitState, Deadline, Elapsed, Guard, Progress, Reason, Rejection, RetryBudget, SetBy, Standard,
    StandardHandle, name, scope, standard, vocabulary::Scope,
};
use tokio::time::{Instant, advance};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{BoxError, ServiceExt};

const LIMIT: Duration = Duration::from_secs(1);
const MOMENT: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DbError {
    NotFound,
    Busy,
    Lost,
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl std::error::Error for DbError {}

/// A guard of one permit, whose circuit opens at once, and its parts.
fn guard() -> (Guard, StandardHandle) {
    let stack = standard("db")
        .retry(|retry| retry.seed(7))
        .circuit_breaker(|circuit| circuit.consecutive_failures(1).success_threshold(1))
        .bulkhead(|bulkhead| bulkhead.max_concurrent(1).max_waiting(1))
        .timeout(LIMIT)
        .build()
        .unwrap();
    (stack.guard(), stack.handle())
}

/// A guard whose circuit stays closed while a call is repeated.
fn patient_guard() -> Guard {
    Standard::new(name!("db")).guard()
}

fn state(parts: &StandardHandle) -> CircuitState {
    parts.circuit_breaker().unwrap().state()
}

fn in_use(parts: &StandardHandle) -> usize {
    parts.bulkhead().unwrap().in_use()
}

/// A function that fails `times`, then gives its number of calls.
fn failing(calls: &Cell<u32>, times: u32, error: DbError) -> impl FnMut() -> Ready<Result<u32, DbError>> {
    move || {
        calls.set(calls.get() + 1);
        ready(if calls.get() <= times { Err(error) } else { Ok(calls.get()) })
    }
}

fn failed<T: fmt::Debug, E: fmt::Debug + Copy>(result: Result<T, CallError<E>>) -> E {
    *result.unwrap_err().error().unwrap()
}

fn rejected<T: fmt::Debug, E: fmt::Debug>(result: Result<T, CallError<E>>) -> Rejection {
    result.unwrap_err().rejection().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn a_value_is_handed_on() {
    let (guard, parts) = guard();
    assert_eq!(guard.call(async || Ok::<_, DbError>(7)).await.unwrap(), 7);
    assert_eq!(guard.call_once(async || Ok::<_, DbError>(7)).await.unwrap(), 7);
    assert_eq!((state(&parts), in_use(&parts)), (CircuitState::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_trips_the_circuit_and_is_not_repeated() {
    let (guard, parts) = guard();
    let calls = Cell::new(0);
    assert_eq!(failed(guard.call(failing(&calls, 1, DbError::Lost)).await), DbError::Lost);
    assert_eq!((calls.get(), state(&parts)), (1, CircuitState::Open));
    assert_eq!(rejected(guard.call(failing(&calls, 1, DbError::Lost)).await).reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_a_success_that_is_returned_as_the_error() {
    let (guard, parts) = guard();
    let calls = Cell::new(0);
    let on_the_call = guard.call(failing(&calls, 9, DbError::NotFound)).is_answer(|error| *error == DbError::NotFound);
    assert_eq!(failed(on_the_call.await), DbError::NotFound);
    let guard = guard.is_answer(|error: &DbError| *error == DbError::NotFound);
    assert_eq!(failed(guard.call(failing(&calls, 9, DbError::NotFound)).await), DbError::NotFound);
    // In a box, too.
    let boxed = guard.call(|| ready(Err::<(), BoxError>(DbError::NotFound.into()))).await;
    assert!(matches!(boxed, Err(CallError::Failed(_))));
    assert_eq!((calls.get(), state(&parts)), (2, CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn what_is_transient_is_repeated_and_counted_by_the_circuit() {
    let calls = Cell::new(0);
    let guard = patient_guard();
    let start = Instant::now();
    let found = guard.call(failing(&calls, 2, DbError::Busy)).transient(|error| *error == DbError::Busy).await;
    assert_eq!((found.unwrap(), calls.get()), (3, 3));
    assert!(start.elapsed() > Duration::ZERO);

    calls.set(0);
    let guard = guard.transient(|error: &DbError| *error == DbError::Busy);
    assert_eq!(failed(guard.call(failing(&calls, 9, DbError::Busy)).await), DbError::Busy);
    assert_eq!(calls.get(), 3);
    calls.set(0);
    assert_eq!(failed(guard.call(failing(&calls, 9, DbError::Lost)).await), DbError::Lost);
    assert_eq!(calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_calls_rules_come_before_the_guards() {
    let calls = Cell::new(0);
    let guard = patient_guard().transient(|error: &DbError| *error == DbError::Busy);
    let answer = guard.call(failing(&calls, 9, DbError::Busy)).is_answer(|error| *error == DbError::Busy).await;
    assert_eq!((failed(answer), calls.get()), (DbError::Busy, 1));
}

#[tokio::test(start_paused = true)]
async fn a_refused_repetition_gives_the_error_before_it() {
    let (guard, parts) = guard();
    let calls = Cell::new(0);
    let busy = guard.call(failing(&calls, 9, DbError::Busy)).transient(|error| *error == DbError::Busy).await;
    assert_eq!((failed(busy), calls.get()), (DbError::Busy, 1));
    assert_eq!(state(&parts), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn only_calls_that_may_be_repeated_pay_into_a_budget() {
    let budget = RetryBudget::builder().ratio(1.0).reserve_per_second(0).burst(9).build().unwrap();
    while budget.withdraw() {}
    let guard = standard("db").retry(|retry| retry.budget(budget.clone())).build().unwrap().guard();
    let call = async |guard: Guard| guard.call(async || Ok::<_, DbError>(())).await.unwrap();
    call(guard.clone()).await;
    call(guard.clone().is_answer(|_: &DbError| true)).await;
    guard.clone().transient(|_: &DbError| true).call_once(async || Ok::<_, DbError>(())).await.unwrap();
    assert_eq!(budget.available(), 0);
    call(guard.clone().transient(|_: &DbError| true)).await;
    call(guard.clone().repeat_timeouts()).await;
    call(guard.transient(|_: &DbError| true).is_answer(|_: &io::Error| true)).await;
    assert_eq!(budget.available(), 3);
}

#[tokio::test(start_paused = true)]
async fn call_once_never_repeats() {
    let calls = Cell::new(0);
    let guard = patient_guard().transient(|_: &DbError| true).repeat_timeouts();
    assert_eq!(failed(guard.call_once(failing(&calls, 9, DbError::Busy)).await), DbError::Busy);
    assert_eq!(calls.get(), 1);
    let late = guard.call_once(|| {
        calls.set(calls.get() + 1);
        pending::<Result<(), DbError>>()
    });
    assert_eq!((rejected(late.await).reason(), calls.get()), (Reason::TIMEOUT, 2));
}

#[tokio::test(start_paused = true)]
async fn a_hung_attempt_is_ended_and_repeated_only_on_request() {
    let (guard, parts) = guard();
    let calls = Cell::new(0);
    let hung = || {
        calls.set(calls.get() + 1);
        pending::<Result<(), DbError>>()
    };
    let start = Instant::now();
    let late = rejected(guard.call(hung).await);
    assert_eq!((start.elapsed(), calls.get(), in_use(&parts)), (LIMIT, 1, 0));
    assert_eq!(late.detail(), Some(&Elapsed::new(SetBy::Us, Progress::Called)));
    assert_eq!(state(&parts), CircuitState::Open);

    for (guard, on_the_call) in [(patient_guard(), true), (patient_guard().repeat_timeouts(), false)] {
        calls.set(0);
        let call = guard.call(hung);
        let call = if on_the_call { call.repeat_timeouts() } else { call };
        assert_eq!((rejected(call.await).reason(), calls.get()), (Reason::TIMEOUT, 3));
    }
}

#[tokio::test(start_paused = true)]
async fn the_callers_deadline_cuts_the_call_and_trips_nothing() {
    let (guard, parts) = guard();
    let mut scope = Scope::narrowed(Deadline::after(LIMIT / 2, SetBy::Caller));
    let mut hung = task::spawn(guard.call(pending::<Result<(), DbError>>).repeat_timeouts());
    scope.enter(|| assert_pending!(hung.poll()));
    advance(LIMIT / 2 + MOMENT).await;
    let late = rejected(scope.enter(|| assert_ready!(hung.poll())));
    assert_eq!(late.detail(), Some(&Elapsed::new(SetBy::Caller, Progress::Called)));
    assert_eq!((state(&parts), in_use(&parts)), (CircuitState::Closed, 0));
    // None is left: the function isn't called.
    let mut none_left = task::spawn(guard.call(|| -> Ready<Result<(), DbError>> { panic!("called") }));
    let late = rejected(scope.enter(|| assert_ready!(none_left.poll())));
    assert_eq!(late.detail(), Some(&Elapsed::new(SetBy::Caller, Progress::NotAsked)));
}

#[tokio::test(start_paused = true)]
async fn a_repetition_that_would_begin_after_the_deadline_is_not_made() {
    let guard = standard("db").retry(|retry| retry.backoff_base(LIMIT).seed(7)).build().unwrap().guard();
    let calls = Cell::new(0);
    let mut scope = Scope::narrowed(Deadline::after(MOMENT, SetBy::Caller));
    let mut call = task::spawn(guard.call(failing(&calls, 9, DbError::Busy)).transient(|_| true));
    assert_eq!(failed(scope.enter(|| assert_ready!(call.poll()))), DbError::Busy);
    assert_eq!(calls.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn dropped_anywhere_a_call_gives_back_what_it_holds() {
    let (guard, parts) = guard();
    let is_as_before = || {
        assert_eq!((in_use(&parts), parts.bulkhead().unwrap().waiting()), (0, 0));
        assert_eq!(state(&parts), CircuitState::Closed);
    };
    // Before it is polled.
    drop(guard.call(pending::<Result<(), DbError>>));
    is_as_before();
    // In the function, and while another waits in line.
    let mut running = task::spawn(guard.call(pending::<Result<(), DbError>>));
    assert_pending!(running.poll());
    let mut waiting = task::spawn(guard.call(pending::<Result<(), DbError>>));
    assert_pending!(waiting.poll());
    assert_eq!((in_use(&parts), parts.bulkhead().unwrap().waiting()), (1, 1));
    drop(waiting);
    drop(running);
    is_as_before();

    // Between two attempts, and in the second one.
    let stack = standard("db").bulkhead(|bulkhead| bulkhead.max_concurrent(1).max_waiting(0)).build().unwrap();
    let (guard, parts) = (stack.guard(), stack.handle());
    let calls = Cell::new(0);
    let fails_then_hangs = || {
        calls.set(calls.get() + 1);
        let fails = calls.get() == 1;
        async move { if fails { Err::<(), _>(DbError::Busy) } else { pending().await } }
    };
    let mut call = task::spawn(guard.call(fails_then_hangs).transient(|_| true));
    assert_pending!(call.poll());
    assert_eq!((calls.get(), in_use(&parts)), (1, 0));
    advance(Duration::from_millis(200)).await;
    assert_pending!(call.poll());
    assert_eq!((calls.get(), in_use(&parts)), (2, 1));
    drop(call);
    assert_eq!((in_use(&parts), state(&parts)), (0, CircuitState::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_ended_call_trips_the_circuit_and_a_probe_that_is_dropped_does_not_wedge_it() {
    let (guard, parts) = guard();
    let mut hung = task::spawn(guard.call(pending::<Result<(), DbError>>));
    assert_pending!(hung.poll());
    scope::end(SetBy::Us, || drop(hung));
    assert_eq!(state(&parts), CircuitState::Open);
    advance(parts.circuit_breaker().unwrap().remaining_wait().unwrap()).await;
    let mut probe = task::spawn(guard.call(pending::<Result<(), DbError>>));
    assert_pending!(probe.poll());
    assert_eq!(state(&parts), CircuitState::HalfOpen);
    drop(probe);
    guard.call(async || Ok::<_, DbError>(())).await.unwrap();
    assert_eq!(state(&parts), CircuitState::Closed);
}

#[test]
fn a_panic_is_a_failure_and_propagates_from_every_attempt() {
    let (guard, parts) = guard();
    let mut call = task::spawn(guard.call(async || -> Result<(), DbError> { panic!("in the function") }));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!((state(&parts), in_use(&parts)), (CircuitState::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_a_later_attempt_propagates_too() {
    let stack = standard("db").circuit_breaker(|circuit| circuit.consecutive_failures(2)).build().unwrap();
    let (guard, parts) = (stack.guard(), stack.handle());
    let calls = Cell::new(0);
    let call = guard.call(|| {
        calls.set(calls.get() + 1);
        assert_eq!(calls.get(), 1, "the second call panics");
        ready(Err::<(), _>(DbError::Busy))
    });
    let mut call = task::spawn(call.transient(|_| true));
    assert_pending!(call.poll());
    advance(Duration::from_millis(200)).await;
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!((calls.get(), state(&parts), in_use(&parts)), (2, CircuitState::Open, 0));
}

#[tokio::test(start_paused = true)]
async fn functions_borrow_and_change_what_is_their_callers() {
    let guard = patient_guard();
    let (name, mut made) = (String::from("ada"), Vec::new());
    let greeting = guard.call(|| {
        made.push(name.as_str());
        let (first, name) = (made.len() == 1, &name);
        async move { if first { Err(DbError::Busy) } else { Ok(format!("hello {name}")) } }
    });
    assert_eq!(greeting.transient(|_| true).await.unwrap(), "hello ada");
    assert_eq!(made, ["ada", "ada"]);
    // Owned by a call that takes it.
    let consumed = guard.call_once(|| async { Ok::<_, DbError>(name + "!") }).await;
    assert_eq!(consumed.unwrap(), "ada!");
}

#[tokio::test(start_paused = true)]
async fn parts_that_are_left_out_do_nothing() {
    let bare = standard("db").without_retry().without_circuit_breaker().without_bulkhead().without_timeout();
    let guard = bare.build().unwrap().guard();
    let calls = Cell::new(0);
    for _ in 0..9 {
        assert_eq!(failed(guard.call(failing(&calls, 9, DbError::Busy)).transient(|_| true).await), DbError::Busy);
    }
    assert_eq!(calls.get(), 9);
}

#[tokio::test(start_paused = true)]
async fn a_clone_shares_everything_and_rules_stay_with_the_guard_that_got_them() {
    let (guard, parts) = guard();
    let lenient = guard.clone().is_answer(|_: &DbError| true);
    lenient.call(async || Err::<(), _>(DbError::Lost)).await.unwrap_err();
    assert_eq!(state(&parts), CircuitState::Closed);
    guard.call(async || Err::<(), _>(DbError::Lost)).await.unwrap_err();
    assert_eq!(rejected(lenient.call(async || Ok::<_, DbError>(())).await).reason(), Reason::CIRCUIT_OPEN);
}

/// As an application uses it: in its state, from a handler, with what the request brought.
#[tokio::test(start_paused = true)]
async fn it_goes_into_an_apps_state_and_its_error_is_a_response() {
    #[derive(Clone)]
    struct App {
        files: Guard,
        root: String,
    }

    async fn read(root: &str, name: &str) -> io::Result<String> {
        if name == "missing" { Err(io::ErrorKind::NotFound.into()) } else { Ok(format!("{root}/{name}")) }
    }

    async fn show(State(app): State<App>, name: axum::extract::Path<String>) -> Result<String, CallError<io::Error>> {
        app.files.call(|| read(&app.root, &name)).await
    }

    fn is_send_and_sync<T: Clone + Send + Sync + 'static>(_: &T) {}

    let stack = standard("files").circuit_breaker(|circuit| circuit.consecutive_failures(1)).build().unwrap();
    let files = stack.guard();
    is_send_and_sync(&files);
    let app = App { files, root: "/srv".to_owned() };
    let app = Router::new().route("/{name}", get(show)).with_state(app);
    let answer = async |path: &str| app.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap();
    let found = answer("/a").await;
    assert_eq!(axum::body::to_bytes(found.into_body(), 100).await.unwrap(), "/srv/a");
    assert_eq!(answer("/missing").await.status(), 500);
    let open = answer("/a").await;
    assert_eq!((open.status().as_u16(), open.headers().contains_key("retry-after")), (503, true));
}

/// The future is `Send` wherever the function and its future are, so that a handler may wait for it.
#[test]
fn a_call_is_send() {
    fn is_send<T: Send>(_: &T) {}

    let guard = patient_guard();
    let text = String::from("borrowed");
    is_send(&guard.call(async || Ok::<_, DbError>(text.len())).transient(|_| true));
    is_send(&async { guard.call_once(async || Ok::<_, DbError>(text.len())).await });
}

#[tokio::test(start_paused = true)]
async fn a_function_that_waits_for_a_permit_is_not_called_once_the_circuit_opens() {
    let (guard, parts) = guard();
    let calls = Cell::new(0);
    let fails_late = || async {
        calls.set(calls.get() + 1);
        advance(MOMENT).await;
        Err::<(), _>(DbError::Lost)
    };
    let (first, second) = tokio::join!(guard.call(fails_late), guard.call(fails_late));
    assert_eq!((failed(first), rejected(second).reason()), (DbError::Lost, Reason::CIRCUIT_OPEN));
    assert_eq!((calls.get(), in_use(&parts), state(&parts)), (1, 0, CircuitState::Open));
}
