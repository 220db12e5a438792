//! Functions are called through a circuit by its handle.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    cell::Cell,
    convert::Infallible,
    future::{pending, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use backstop_circuit_breaker::{CallError, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use backstop_core::{Reason, Rejection, SetBy, scope};
use backstop_test::Logs;
use http::{Request, Response};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_err, task};
use tower::{Layer, ServiceExt, service_fn};
use tracing::Level;

const WAIT: Duration = Duration::from_secs(60);

fn layer() -> CircuitBreakerLayer {
    let builder = CircuitBreakerLayer::builder("db").consecutive_failures(1).success_threshold(1);
    builder.wait(WAIT).wait_jitter(0.0).retry_after_jitter(0.0).build().unwrap()
}

async fn fail() -> io::Result<u32> {
    Err(io::Error::other("no disk"))
}

async fn succeed() -> io::Result<u32> {
    Ok(7)
}

async fn open(circuit: &CircuitBreakerHandle) {
    circuit.call(fail).await.unwrap_err();
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_failing_function_opens_the_circuit_which_then_refuses_without_calling_it() {
    let circuit = layer().handle();
    assert_eq!(circuit.call(succeed).await.unwrap(), 7);
    let failed = circuit.call(fail).await.unwrap_err();
    assert_eq!(failed.error().unwrap().to_string(), "no disk");

    let called = Cell::new(false);
    let refused = circuit.call(|| {
        called.set(true);
        succeed()
    });
    let rejection = refused.await.unwrap_err().rejection().cloned().unwrap();
    assert!(!called.get());
    assert_eq!((rejection.by().as_str(), rejection.reason()), ("db", Reason::CIRCUIT_OPEN));
    assert_eq!(rejection.retry_after(), Some(WAIT));

    advance(WAIT).await;
    assert_eq!(circuit.call(succeed).await.unwrap(), 7);
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn functions_and_services_share_the_circuit() {
    let layer = layer();
    open(&layer.handle()).await;
    let service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    let response = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!(Rejection::in_response(&response).unwrap().reason(), Reason::CIRCUIT_OPEN);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_is_an_answer_says_that_the_dependency_is_well() {
    let circuit = layer().handle();
    let missing = || ready(Err::<(), _>(io::Error::from(io::ErrorKind::NotFound)));
    let answer = circuit.call(missing).is_answer(|error| error.kind() == io::ErrorKind::NotFound).await;
    assert!(matches!(answer, Err(CallError::Failed(_))));
    assert_eq!(circuit.state(), CircuitState::Closed);
    open(&circuit).await;
    // A probe is answered, too.
    advance(WAIT).await;
    circuit.call(missing).is_answer(|error| error.kind() == io::ErrorKind::NotFound).await.unwrap_err();
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_in_an_error_counts_as_it_says() {
    let circuit = layer().handle();
    for (rejection, state) in [
        (Rejection::refused(backstop_core::name!("inner"), Reason::BULKHEAD_FULL), CircuitState::Closed),
        (
            Rejection::new(backstop_core::name!("inner"), Reason::TIMEOUT, backstop_core::Outcome::failure()),
            CircuitState::Open,
        ),
    ] {
        let error: tower::BoxError = rejection.into();
        circuit.call(|| ready(Err::<(), _>(error))).await.unwrap_err();
        assert_eq!(circuit.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn the_event_has_the_text_of_the_functions_error() {
    let logs = Logs::new();
    let _listening = logs.listen();
    open(&layer().handle()).await;
    assert_eq!(logs.events().at(Level::WARN).only().field("error"), Some("no disk"));
}

#[test]
fn a_panic_is_a_failure_and_propagates() {
    let circuit = layer().handle();
    let mut call = task::spawn(circuit.call(|| -> std::future::Ready<io::Result<()>> { panic!("in the closure") }));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!(circuit.state(), CircuitState::Open);

    circuit.reset();
    let mut call = task::spawn(circuit.call(async || -> io::Result<()> { panic!("in the future") }));
    assert!(catch_unwind(AssertUnwindSafe(|| call.poll())).is_err());
    drop(call);
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_call_counts_as_that_of_a_service_and_returns_its_permit() {
    let circuit = layer().handle();
    let hung = || task::spawn(circuit.call(pending::<io::Result<()>>));
    // Never polled.
    drop(hung());
    assert_eq!(circuit.state(), CircuitState::Closed);
    // Ended by our own timer.
    let mut call = hung();
    assert_pending!(call.poll());
    scope::end(SetBy::Us, || drop(call));
    assert_eq!(circuit.state(), CircuitState::Open);
    // A probe that its caller leaves gives its permit back.
    advance(WAIT).await;
    let mut probe = hung();
    assert_pending!(probe.poll());
    assert_ready_err!(task::spawn(circuit.call(succeed)).poll());
    drop(probe);
    assert_eq!(circuit.call(succeed).await.unwrap(), 7);
}

#[tokio::test]
async fn a_function_may_borrow_and_change_what_is_its_callers() {
    let circuit = layer().handle();
    let (name, mut made) = (String::from("ada"), 0);
    let greeting = circuit.call(|| {
        made += 1;
        async { Ok::<_, Infallible>(format!("hello {name}")) }
    });
    assert_eq!(greeting.await.unwrap(), "hello ada");
    assert_eq!(made, 1);
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_circuit_of_its_own() {
    let builder = CircuitBreakerLayer::builder("tenants").consecutive_failures(1).success_threshold(1);
    let layer = builder.wait(WAIT).wait_jitter(0.0).build_keyed(2, |tenant: &u32| *tenant).unwrap();
    let tenants = layer.handle();
    assert_eq!(tenants.call(1, succeed).await.unwrap(), 7);
    assert!(tenants.call(2, fail).await.unwrap_err().error().is_some());
    let refused = tenants.call(2, succeed).await.unwrap_err();
    assert_eq!(refused.rejection().unwrap().reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(tenants.call(1, succeed).await.unwrap(), 7);
    let states = [1, 2].map(|tenant| tenants.get(&tenant).unwrap().state());
    assert_eq!(states, [CircuitState::Closed, CircuitState::Open]);

    // An answer counts as one here, too, and closes it.
    advance(WAIT).await;
    tenants.call(2, fail).is_answer(|_| true).await.unwrap_err();
    assert_eq!(tenants.get(&2).unwrap().state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_key_for_which_there_is_no_room_is_called_without_a_circuit_and_one_in_use_keeps_its_own() {
    let layer = CircuitBreakerLayer::builder("tenants").consecutive_failures(1).build_keyed(1, |tenant: &u32| *tenant);
    let tenants = layer.unwrap().handle();
    let mut running = task::spawn(tenants.call(1, pending::<io::Result<u32>>));
    assert_pending!(running.poll());
    for _ in 0..2 {
        assert!(tenants.call(2, fail).await.unwrap_err().error().is_some());
    }
    assert_eq!((tenants.unguarded(), tenants.len()), (2, 1));
    assert!(tenants.get(&1).is_some());
    drop(running);
    // The key has no failures, so another one may have its place.
    advance(2 * WAIT).await;
    tenants.call(2, fail).await.unwrap_err();
    assert_eq!(tenants.get(&2).unwrap().state(), CircuitState::Open);
}
