//! A circuit that only observes: to everything else it is closed.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerConfig, CircuitBreakerLayer, CircuitMode, CircuitState, CircuitStatus,
};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};

use CircuitMode::{Enforcing, Observing};
use CircuitState::{Closed, HalfOpen, Isolated, Open};

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(2)
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) -> StatusCode {
    let service = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    layer.layer(service).oneshot(Request::new(())).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn nothing_is_refused_and_each_transition_is_told() {
    let layer = builder().observe_only().build().unwrap();
    let circuit = layer.handle();
    let (mut events, mut states) = (circuit.events(), circuit.subscribe());
    for _ in 0..10 {
        assert_eq!(call(&layer, StatusCode::BAD_GATEWAY).await, StatusCode::BAD_GATEWAY);
    }
    assert_eq!((circuit.state(), circuit.status(), circuit.remaining_wait()), (Closed, CircuitStatus::Closed, None));
    assert_eq!((circuit.mode(), circuit.observed_state()), (Observing, Open));
    advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        assert_eq!(call(&layer, StatusCode::OK).await, StatusCode::OK);
    }
    assert_eq!(circuit.observed_state(), Closed);
    for to in [Open, HalfOpen, Closed] {
        let event = events.next().await;
        assert_eq!((event.to, event.mode), (to, Observing));
    }
    assert!(!states.has_changed());
    assert_eq!(states.state(), Closed);
}

#[tokio::test]
async fn it_is_switched_by_the_handle_and_by_a_reload_and_starts_closed() {
    let layer = builder().build().unwrap();
    let circuit = layer.handle();
    circuit.observe_only();
    for _ in 0..3 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    assert_eq!(circuit.observed_state(), Open);
    circuit.enforce();
    assert_eq!((circuit.mode(), circuit.state()), (Enforcing, Closed));
    for status in [StatusCode::BAD_GATEWAY, StatusCode::BAD_GATEWAY, StatusCode::SERVICE_UNAVAILABLE] {
        assert_eq!(call(&layer, StatusCode::BAD_GATEWAY).await, status);
    }
    let mut states = circuit.subscribe();
    assert_eq!(states.state(), Open);
    let mut config = CircuitBreakerConfig::new("upstream");
    config.observe_only = true;
    circuit.reload(config.clone()).unwrap();
    assert_eq!((circuit.mode(), states.changed().await), (Observing, Some(Closed)));
    assert_eq!(call(&layer, StatusCode::OK).await, StatusCode::OK);
    config.observe_only = false;
    circuit.reload(config).unwrap();
    assert_eq!((circuit.mode(), circuit.state()), (Enforcing, Closed));
}

#[tokio::test]
async fn what_an_operator_isolates_is_refused_nevertheless() {
    let layer = builder().observe_only().build().unwrap();
    layer.handle().isolate();
    assert_eq!(layer.handle().state(), Isolated);
    assert_eq!(call(&layer, StatusCode::OK).await, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn all_circuits_of_a_keyed_layer_are_switched_and_those_made_later_too() {
    let layer = builder().build_keyed(100, |request: &Request<u32>| *request.body()).unwrap();
    let circuits = layer.handle();
    let fail = |key: u32| circuits.call(key, || async { Err::<(), _>(std::io::Error::other("down")) });
    _ = fail(1).await;
    circuits.observe_only();
    for key in [1, 2].repeat(3) {
        assert!(matches!(fail(key).await, Err(backstop_circuit_breaker::CallError::Failed(_))));
    }
    for key in [1, 2] {
        let circuit = circuits.get(&key).unwrap();
        assert_eq!((circuit.mode(), circuit.state(), circuit.observed_state()), (Observing, Closed, Open));
    }
    circuits.enforce();
    assert!(circuits.list().iter().all(|(_, circuit)| (circuit.mode(), circuit.state()) == (Enforcing, Closed)));
    circuits.get(&1).unwrap().observe_only();
    assert_eq!(circuits.get(&2).unwrap().mode(), Enforcing, "each key has its own");
}
