//! Shares are compared in whole calls: k of n are k / n, however that is written in binary.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_circuit_breaker::{CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, Window};
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

const SLOW: Duration = Duration::from_millis(10);

/// Every share of `n` calls with `n` up to 30: 465 of them.
fn shares() -> impl Iterator<Item = (u32, u32)> {
    (1..=30).flat_map(|calls| (1..=calls).map(move |part| (part, calls)))
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode, takes: Duration) {
    let service = service_fn(move |_: Request<()>| async move {
        if !takes.is_zero() {
            sleep(takes).await;
        }
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    layer.layer(service).oneshot(Request::new(())).await.unwrap();
}

/// How many of the `calls` of a full window must be bad before the circuit opens, the good ones coming first.
async fn opens_at(builder: CircuitBreakerBuilder, part: u32, calls: u32, bad: (StatusCode, Duration)) -> Option<u32> {
    let layer = builder.min_calls(calls).build().unwrap();
    for _ in 0..calls - part {
        call(&layer, StatusCode::OK, Duration::ZERO).await;
    }
    for counted in 1..=part {
        call(&layer, bad.0, bad.1).await;
        if layer.handle().state() == CircuitState::Open {
            return Some(counted);
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_share_of_failures_opens_at_exactly_so_many_of_the_last_calls() {
    for (part, calls) in shares() {
        let share = f64::from(part) / f64::from(calls);
        for window in [Window::Calls(calls), Window::Time(Duration::from_secs(3600))] {
            let builder = CircuitBreakerLayer::builder("search").failure_rate(share).window(window);
            let opened = opens_at(builder, part, calls, (StatusCode::BAD_GATEWAY, Duration::ZERO)).await;
            assert_eq!(opened, Some(part), "{part} of {calls} in {window:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_failure_less_than_the_share_opens_nothing() {
    for (part, calls) in shares().filter(|(part, _)| *part > 1) {
        let share = f64::from(part) / f64::from(calls);
        let builder = CircuitBreakerLayer::builder("search").failure_rate(share).window(calls);
        let opened = opens_at(builder, part - 1, calls, (StatusCode::BAD_GATEWAY, Duration::ZERO)).await;
        assert_eq!(opened, None, "{} of {calls}", part - 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_slow_calls_opens_at_exactly_so_many_of_the_last_calls() {
    for (part, calls) in shares() {
        let share = f64::from(part) / f64::from(calls);
        for window in [Window::Calls(calls), Window::Time(Duration::from_secs(3600))] {
            let builder = CircuitBreakerLayer::builder("search").slow_calls(SLOW, share).window(window);
            let opened = opens_at(builder, part, calls, (StatusCode::OK, SLOW)).await;
            assert_eq!(opened, Some(part), "{part} of {calls} in {window:?}");
        }
    }
}
