//! Drills of a provider behind layers of its own: nothing of them counts there.

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "the helpers of a test may fail it, and it has an executor"
)]

use std::time::Duration;

use axum::{body::Body, response::Response};
use backstop::{CircuitBreakerLayer, FallbackChain, FallbackLayer, Level, Provider, fallback::Drill, name};
use backstop_test::Scripted;
use http::Request;
use tokio::{task::yield_now, time::advance};
use tower::{Layer, ServiceExt};

type Req = Request<Body>;

/// Drills a provider 20 times that answers with these statuses, inside of `circuit`.
async fn drill(circuit: &CircuitBreakerLayer, statuses: &[u16]) -> usize {
    let replica = Scripted::<Req, Response>::statuses(statuses.iter().copied());
    let chain = FallbackChain::builder("prices")
        .provider(Provider::service(name!("replica"), circuit.layer(replica.clone())))
        .build()
        .unwrap();
    let drill = Drill::new(|run| drop(tokio::spawn(run)), || Level::Healthy);
    let layer: FallbackLayer<Req, Response> = FallbackLayer::new(name!("live"), chain).with_drill(drill).unwrap();
    let live = layer.layer(Scripted::<Req, Response>::statuses([200]));
    for _ in 0..20 {
        live.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        for _ in 0..10 {
            yield_now().await;
        }
        advance(Duration::from_secs(10)).await;
        for _ in 0..10 {
            yield_now().await;
        }
    }
    replica.calls()
}

#[tokio::test(start_paused = true)]
async fn failed_drills_open_no_circuit_and_good_ones_hide_no_failure() {
    let circuit = CircuitBreakerLayer::builder("replica").consecutive_failures(2).build().unwrap();
    assert_eq!(drill(&circuit, &[500]).await, 20);
    assert_eq!(circuit.handle().state().to_string(), "closed");

    // One live failure before the good drills, and one after them.
    let failing = || circuit.layer(Scripted::<Req, Response>::statuses([500])).oneshot(Request::new(Body::empty()));
    failing().await.unwrap();
    assert_eq!(drill(&circuit, &[200]).await, 20);
    failing().await.unwrap();
    assert_eq!(circuit.handle().state().to_string(), "open");
}
