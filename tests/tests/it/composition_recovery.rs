//! The whole stack in paused time: the circuit when calls return late, or never.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{extract::Request, http::StatusCode, response::Response};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, FallbackChain, FallbackLayer, Provider, TimeoutLayer, name,
};
use backstop_tests::http::{PERSONAL, get, read};
use tokio::{sync::oneshot, time::advance};
use tokio_test::{assert_pending, task};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);
const LEASE: Duration = Duration::from_secs(10);
const DOWN: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// A service whose next answers the test sends. All other calls succeed at once.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<oneshot::Receiver<StatusCode>>>>);

impl Told {
    /// The sender of the next call's answer.
    fn next(&self) -> oneshot::Sender<StatusCode> {
        let (answer, told) = oneshot::channel();
        self.0.lock().unwrap().push(told);
        answer
    }

    /// The next calls fail.
    fn fail(&self, times: usize) {
        for _ in 0..times {
            self.next().send(DOWN).unwrap();
        }
    }

    fn call(&self) -> impl Future<Output = Result<Response, BoxError>> + Send + use<> {
        let mut told = self.0.lock().unwrap();
        let answer = if told.is_empty() { None } else { Some(told.remove(0)) };
        async {
            let status = match answer {
                Some(answer) => answer.await?,
                None => StatusCode::OK,
            };
            Ok(axum::response::IntoResponse::into_response((status, PERSONAL)))
        }
    }
}

/// A fallback and a circuit around `service`, and the circuit's handle. It opens after two failures, for a second.
fn stack(
    service: Told,
) -> (
    impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + 'static,
    CircuitBreakerHandle,
) {
    let chain = FallbackChain::builder("recommendations")
        .total(100 * SECOND)
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let breaker = CircuitBreakerLayer::builder("ml_service")
        .consecutive_failures(2)
        .wait(SECOND)
        .probe_lease(LEASE)
        .build()
        .unwrap();
    let circuit = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .layer(breaker)
        .service(service_fn(move |_: Request| service.call()));
    (stack, circuit)
}

async fn ask<S>(stack: &S) -> String
where
    S: Service<Request, Response = Response, Error = BoxError> + Clone,
{
    read(stack.clone().oneshot(get("/")).await.unwrap()).await.1
}

/// The stack with an open circuit whose wait is over.
async fn tripped() -> (
    Told,
    impl Service<Request, Response = Response, Error = BoxError, Future: Send> + Clone + Send + 'static,
    CircuitBreakerHandle,
) {
    let service = Told::default();
    let (stack, circuit) = stack(service.clone());
    service.fail(2);
    for _ in 0..2 {
        assert_eq!(ask(&stack).await, "the usual");
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    assert_eq!(ask(&stack).await, "the usual", "it is well again, and nobody knows");
    advance(SECOND).await;
    (service, stack, circuit)
}

#[tokio::test(start_paused = true)]
async fn it_recovers_without_a_restart() {
    let (_service, stack, circuit) = tripped().await;
    assert_eq!(ask(&stack).await, PERSONAL);
    assert_eq!(circuit.state(), CircuitState::HalfOpen);
    assert_eq!(ask(&stack).await, PERSONAL);
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cancelled_does_not_wedge_the_circuit() {
    let (service, stack, circuit) = tripped().await;
    let _never = service.next();
    let mut probe = task::spawn(stack.clone().oneshot(get("/")));
    assert_pending!(probe.poll());
    assert_eq!(circuit.counts().probes, 1);
    assert_eq!(ask(&stack).await, "the usual", "one probe at a time");

    drop(probe);
    assert_eq!(circuit.counts().probes, 0);
    for _ in 0..2 {
        assert_eq!(ask(&stack).await, PERSONAL);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_does_not_wedge_the_circuit() {
    let (service, stack, circuit) = tripped().await;
    let _never = service.next();
    let mut probe = task::spawn(stack.clone().oneshot(get("/")));
    assert_pending!(probe.poll());
    advance(LEASE).await;
    for _ in 0..2 {
        assert_eq!(ask(&stack).await, PERSONAL, "its lease is over, though it still hangs");
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert_pending!(probe.poll());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_a_timeout_ends_opens_again_and_a_later_one_closes() {
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).wait(SECOND).build().unwrap();
    let circuit = breaker.handle();
    let service = Told::default();
    let told = service.clone();
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::builder("ml_service").limit(SECOND / 10).build().unwrap())
        .service(service_fn(move |_: Request| told.call()));
    let _never = (service.next(), service.next());
    for _ in 0..2 {
        assert_eq!(stack.clone().oneshot(get("/")).await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(circuit.state(), CircuitState::Open);
        advance(SECOND).await;
    }
    for _ in 0..2 {
        assert_eq!(ask(&stack).await, PERSONAL);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_late_success_does_not_close_and_a_late_failure_does_not_reopen() {
    let service = Told::default();
    let (stack, circuit) = stack(service.clone());
    // Admitted while the circuit was closed.
    let answers = [service.next(), service.next(), service.next()];
    let mut early = [(); 3].map(|()| task::spawn(stack.clone().oneshot(get("/"))));
    for call in &mut early {
        assert_pending!(call.poll());
    }
    service.fail(2);
    for _ in 0..2 {
        assert_eq!(ask(&stack).await, "the usual");
    }
    let [well, bad, worse] = answers;
    let [first, second, third] = early;

    well.send(StatusCode::OK).unwrap();
    assert_eq!(read(first.await.unwrap()).await.1, PERSONAL, "its caller has it all the same");
    assert_eq!(circuit.state(), CircuitState::Open);

    advance(SECOND).await;
    assert_eq!(ask(&stack).await, PERSONAL);
    assert_eq!((circuit.state(), circuit.counts().probe_successes), (CircuitState::HalfOpen, 1));
    bad.send(DOWN).unwrap();
    assert_eq!(read(second.await.unwrap()).await.1, "the usual");
    assert_eq!((circuit.state(), circuit.counts().probe_successes), (CircuitState::HalfOpen, 1));

    assert_eq!(ask(&stack).await, PERSONAL);
    assert_eq!(circuit.state(), CircuitState::Closed);
    worse.send(DOWN).unwrap();
    assert_eq!(read(third.await.unwrap()).await.1, "the usual");
    assert_eq!(circuit.counts().failures, 0);
}
