//! Presets are what their table says.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_circuit_breaker::{
    CircuitBreakerConfig, CircuitBreakerLayer,
    CircuitState::{self, Closed, Open},
    Preset, Wait, name,
};
use backstop_core::Inspect;
use http::{Request, Response, StatusCode};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceExt, service_fn};

fn layer(preset: Preset) -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").preset(preset).wait_jitter(0.0).build().unwrap()
}

/// Makes as many calls, and returns the state after each.
async fn calls(layer: &CircuitBreakerLayer, calls: usize, status: StatusCode, takes: Duration) -> Vec<CircuitState> {
    let mut states = Vec::new();
    for _ in 0..calls {
        let answers = service_fn(|_: Request<()>| async move {
            if !takes.is_zero() {
                sleep(takes).await;
            }
            let mut response = Response::new(());
            *response.status_mut() = status;
            Ok::<_, Infallible>(response)
        });
        layer.layer(answers).oneshot(Request::new(())).await.unwrap();
        states.push(layer.handle().state());
    }
    states
}

async fn fails(layer: &CircuitBreakerLayer, n: usize) -> Vec<CircuitState> {
    calls(layer, n, StatusCode::BAD_GATEWAY, Duration::ZERO).await
}

async fn succeeds(layer: &CircuitBreakerLayer, n: usize) -> Vec<CircuitState> {
    calls(layer, n, StatusCode::OK, Duration::ZERO).await
}

#[tokio::test(start_paused = true)]
async fn a_latency_critical_circuit_opens_on_half_of_twenty_calls_for_5_s() {
    let layer = layer(Preset::LatencyCritical);
    succeeds(&layer, 10).await;
    assert_eq!(fails(&layer, 10).await[8..], [Closed, Open]);
    assert_eq!(layer.handle().remaining_wait(), Some(Duration::from_secs(5)));
    advance(Duration::from_secs(5)).await;
    assert_eq!(succeeds(&layer, 3).await[2], Closed);
}

#[tokio::test(start_paused = true)]
async fn a_latency_critical_circuit_opens_on_calls_of_half_a_second() {
    let layer = layer(Preset::LatencyCritical);
    succeeds(&layer, 18).await;
    calls(&layer, 1, StatusCode::OK, Duration::from_millis(499)).await;
    assert_eq!(calls(&layer, 18, StatusCode::OK, Duration::from_millis(500)).await.last(), Some(&Closed));
    assert_eq!(calls(&layer, 1, StatusCode::OK, Duration::from_millis(500)).await, [Open]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_circuit_opens_on_ten_failures_and_waits_longer_each_time() {
    let layer = layer(Preset::Batch);
    assert_eq!(fails(&layer, 10).await[8..], [Closed, Open]);
    for wait in [30, 60, 120, 240, 480, 600, 600] {
        let wait = Duration::from_secs(wait);
        assert_eq!(layer.handle().remaining_wait(), Some(wait));
        advance(wait).await;
        fails(&layer, 1).await;
    }
    advance(Duration::from_secs(600)).await;
    assert_eq!(succeeds(&layer, 1).await, [Closed]);
}

#[tokio::test(start_paused = true)]
async fn a_high_volume_circuit_opens_on_a_tenth_of_a_hundred_calls_and_ramps_after_ten_probes() {
    let layer = layer(Preset::HighVolume);
    succeeds(&layer, 90).await;
    assert_eq!(fails(&layer, 10).await[8..], [Closed, Open]);
    advance(Duration::from_secs(5)).await;
    assert_eq!(succeeds(&layer, 10).await[8..], [CircuitState::HalfOpen, CircuitState::Recovering]);
    for share in [0.01, 0.05, 0.25, 0.5] {
        assert_eq!((layer.handle().admitted_share() * 1e6).round(), share * 1e6);
        succeeds(&layer, 1_100).await;
        advance(Duration::from_secs(5)).await;
        succeeds(&layer, 2).await;
    }
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_high_volume_circuit_opens_on_twenty_in_a_row_before_there_are_a_hundred_calls() {
    let layer = layer(Preset::HighVolume);
    assert_eq!(fails(&layer, 20).await[18..], [Closed, Open]);
}

#[tokio::test(start_paused = true)]
async fn a_general_circuit_opens_on_ten_in_a_row_or_on_half_of_the_last_hundred() {
    let layer = layer(Preset::General);
    assert_eq!(fails(&layer, 10).await[8..], [Closed, Open]);
    layer.handle().reset();
    for _ in 0..9 {
        assert_eq!((fails(&layer, 1).await, succeeds(&layer, 1).await), (vec![Closed], vec![Closed]));
    }
    // The first 19 calls are too few.
    assert_eq!((fails(&layer, 1).await, succeeds(&layer, 1).await), (vec![Closed], vec![Closed]));
    assert_eq!(fails(&layer, 1).await, [Open]);
}

#[tokio::test(start_paused = true)]
async fn a_layer_that_is_made_by_a_preset_alone_is_that_of_its_configuration() {
    for preset in [Preset::General, Preset::LatencyCritical, Preset::Batch, Preset::HighVolume] {
        let made = CircuitBreakerLayer::with_preset(name!("upstream"), preset).handle();
        let configured = CircuitBreakerLayer::builder("upstream").preset(preset).build().unwrap().handle();
        assert_eq!(made.settings(), configured.settings());
    }
}

#[test]
fn what_is_set_after_a_preset_is_kept() {
    let mut config = CircuitBreakerConfig::new("upstream").preset(Preset::HighVolume);
    assert_eq!(config.wait, Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(60) });
    config.wait = Wait::Fixed(Duration::from_secs(7));
    assert_eq!(CircuitBreakerLayer::from_config(config).unwrap().handle().state(), Closed);
}
