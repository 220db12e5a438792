//! The ramp, as callers and operators see it.

#![expect(clippy::disallowed_methods, reason = "a prober is spawned")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    io,
    task::{Context, Poll},
    time::Duration,
};

use backstop_circuit_breaker::{
    CallError, CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, CircuitStatus, Recovery, Rejection,
};
use backstop_core::Reason;
use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open, Recovering};

const WAIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_secs(5);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream")
        .consecutive_failures(2)
        .success_threshold(1)
        .retry_after_jitter(0.0)
        .recovery(Recovery::ramp([0.25, 0.5]).each(STEP))
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) -> Response<()> {
    let service = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    layer.layer(service).oneshot(Request::new(())).await.unwrap()
}

/// How many of so many calls reach the service, which is well.
async fn reach(layer: &CircuitBreakerLayer, calls: usize) -> usize {
    let mut admitted = 0;
    for _ in 0..calls {
        admitted += usize::from(call(layer, StatusCode::OK).await.status().is_success());
    }
    admitted
}

/// A circuit that has just begun its ramp.
async fn ramping(builder: CircuitBreakerBuilder) -> CircuitBreakerLayer {
    let layer = builder.build().unwrap();
    for _ in 0..2 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    advance(WAIT).await;
    assert_eq!(reach(&layer, 1).await, 1);
    assert_eq!(layer.handle().state(), Recovering);
    layer
}

#[tokio::test(start_paused = true)]
async fn a_ramp_admits_growing_shares_and_each_change_of_state_is_told() {
    let layer = builder().build().unwrap();
    let circuit = layer.handle();
    let mut events = circuit.events();
    for _ in 0..2 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    advance(WAIT).await;
    reach(&layer, 1).await;
    let mut states = circuit.subscribe();
    assert_eq!((states.state(), circuit.status()), (Recovering, CircuitStatus::Recovering));
    assert_eq!((reach(&layer, 100).await, circuit.admitted_share()), (25, 0.25));
    advance(STEP).await;
    assert_eq!(circuit.status(), CircuitStatus::StepDue);
    assert_eq!((reach(&layer, 100).await, circuit.admitted_share()), (50, 0.5));
    advance(STEP).await;
    assert_eq!((reach(&layer, 100).await, circuit.admitted_share()), (100, 1.0));
    assert_eq!(states.changed().await, Some(Closed));
    for to in [Open, HalfOpen, Recovering, Closed] {
        assert_eq!(events.next().await.to, to);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_a_ramp_says_recovering_and_when_the_share_grows() {
    let layer = ramping(builder()).await;
    advance(Duration::from_secs(1)).await;
    let refused = call(&layer, StatusCode::OK).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()[RETRY_AFTER], "4");
    let rejection = refused.extensions().get::<Rejection>().unwrap();
    assert_eq!(
        (rejection.reason(), rejection.to_string()),
        (Reason::RECOVERING, "circuit upstream is recovering".into())
    );
    // The step has ended, but too few calls have.
    advance(STEP).await;
    reach(&layer, 2).await;
    let refused = call(&layer, StatusCode::OK).await;
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
}

#[tokio::test(start_paused = true)]
async fn a_failing_ramp_opens_again_and_heals_later() {
    let layer = ramping(builder()).await;
    let circuit = layer.handle();
    while circuit.state() == Recovering {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    assert_eq!((circuit.state(), circuit.remaining_wait()), (Open, Some(WAIT)));
    advance(WAIT).await;
    for _ in 0..3 {
        reach(&layer, 100).await;
        advance(STEP).await;
    }
    assert_eq!((reach(&layer, 10).await, circuit.state()), (10, Closed));
}

/// Never ready.
#[derive(Clone)]
struct Busy;

impl Service<Request<()>> for Busy {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Pending
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        unreachable!("it is never ready")
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_a_ramp_refuses_does_not_wait_for_a_busy_service() {
    let layer = ramping(builder()).await;
    let mut waits = 0;
    for _ in 0..8 {
        let mut service = layer.layer(Busy);
        let mut ready = tokio_test::task::spawn(service.ready());
        match ready.poll() {
            Poll::Pending => waits += 1,
            Poll::Ready(ready) => {
                let refused = ready.unwrap().call(Request::new(())).await.unwrap();
                assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
            }
        }
    }
    assert_eq!(waits, 2, "a quarter waits, and takes its turn once however often it is polled");
}

#[tokio::test(start_paused = true)]
async fn functions_and_keys_ramp_too() {
    let circuits = builder().build_keyed(10, |request: &Request<u8>| *request.body()).unwrap().handle();
    let call =
        |result: Result<(), io::ErrorKind>| circuits.call(1, move || async move { result.map_err(io::Error::from) });
    for _ in 0..2 {
        call(Err(io::ErrorKind::Other)).await.unwrap_err();
    }
    advance(WAIT).await;
    call(Ok(())).await.unwrap();
    let mut admitted = 0;
    for _ in 0..100 {
        match call(Ok(())).await {
            Ok(()) => admitted += 1,
            Err(CallError::Rejected(rejection)) => assert_eq!(rejection.reason(), Reason::RECOVERING),
            Err(other) => unreachable!("{other}"),
        }
    }
    assert_eq!((admitted, circuits.get(&1).unwrap().state()), (25, Recovering));
}

#[tokio::test(start_paused = true)]
async fn a_prober_takes_an_idle_circuit_through_its_ramp() {
    let layer = builder().build().unwrap();
    let circuit = layer.handle();
    tokio::spawn(circuit.prober(|| async { Ok::<_, Infallible>(()) }));
    for _ in 0..2 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    let began = Instant::now();
    circuit.subscribe().wait_for(|state| state == Recovering).await.unwrap();
    circuit.subscribe().wait_for(|state| state == Closed).await.unwrap();
    // A whole quiet wait before the last probe, then a minute for each step.
    assert!(began.elapsed() <= 2 * WAIT + Duration::from_secs(130), "{:?}", began.elapsed());
}
