//! Slow calls open the circuit, whatever they answer.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, future::ready, time::Duration};

use backstop_circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, OnDrop};
use http::{Request, Response};
use tokio::time::{advance, sleep, timeout};
use tower::{Layer, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

const WAIT: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(200);

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").slow_calls(LIMIT, 0.5).window(10).min_calls(4)
}

/// A call that succeeds after that long.
async fn call(layer: &CircuitBreakerLayer, takes: Duration) {
    let answers = service_fn(move |_: Request<()>| async move {
        sleep(takes).await;
        Ok::<_, Infallible>(Response::new(()))
    });
    layer.layer(answers).oneshot(Request::new(())).await.unwrap();
}

async fn opened(builder: CircuitBreakerBuilder) -> CircuitBreakerLayer {
    let layer = builder.build().unwrap();
    for _ in 0..4 {
        assert_eq!(layer.handle().state(), Closed);
        call(&layer, LIMIT).await;
    }
    assert_eq!(layer.handle().state(), Open);
    layer
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_the_circuit_though_they_succeed() {
    _ = opened(builder()).await;
    _ = opened(builder().failure_rate(0.9)).await;
    _ = opened(builder().on_drop(OnDrop::Ignore)).await;
}

#[tokio::test(start_paused = true)]
async fn calls_below_the_limit_are_not_slow() {
    let layer = builder().build().unwrap();
    for _ in 0..20 {
        call(&layer, LIMIT - Duration::from_millis(1)).await;
    }
    assert_eq!((layer.handle().state(), layer.handle().counts().slow), (Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_ready_at_once_is_not_slow() {
    let layer = builder().build().unwrap();
    for _ in 0..20 {
        let answers = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(()))));
        let call = layer.layer(answers).oneshot(Request::new(()));
        advance(LIMIT * 2).await;
        call.await.unwrap();
    }
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_as_slow_as_the_calls_that_tripped_opens_again() {
    let layer = opened(builder().success_threshold(1)).await;
    advance(WAIT).await;
    call(&layer, LIMIT).await;
    assert_eq!((layer.handle().state(), layer.handle().remaining_wait()), (Open, Some(WAIT)));
    advance(WAIT).await;
    call(&layer, LIMIT / 2).await;
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_slow_probe_that_its_caller_drops_only_gives_its_permit_back() {
    let layer = opened(builder().success_threshold(1)).await;
    advance(WAIT).await;
    timeout(LIMIT, call(&layer, LIMIT * 10)).await.unwrap_err();
    assert_eq!((layer.handle().state(), layer.handle().counts().probes), (HalfOpen, 0));
    call(&layer, Duration::ZERO).await;
    assert_eq!(layer.handle().state(), Closed);
}
