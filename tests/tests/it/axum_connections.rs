//! One circuit for all routes and connections, although axum makes new services for each if a router has no state.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};
use backstop::{CircuitBreakerLayer, CircuitState, Standard, name};
use backstop_tests::http::{Server, header};
use tower::Layer;

/// A router without `with_state`, behind `layer`. Its two handlers fail, and count their calls.
fn failing<L>(layer: L) -> (Router, Arc<AtomicUsize>)
where
    L: Layer<axum::routing::Route> + Clone + Send + Sync + 'static,
    L::Service: tower::Service<axum::extract::Request, Response = axum::response::Response, Error = std::convert::Infallible>
        + Clone
        + Send
        + Sync
        + 'static,
    <L::Service as tower::Service<axum::extract::Request>>::Future: Send + 'static,
{
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let fails = move || {
        counted.fetch_add(1, Ordering::Relaxed);
        std::future::ready(StatusCode::BAD_GATEWAY)
    };
    (Router::new().route("/a", get(fails.clone())).route("/b", get(fails)).layer(layer), calls)
}

#[tokio::test]
async fn five_failures_over_five_connections_open_the_circuit_for_a_sixth() {
    let layer = CircuitBreakerLayer::new(name!("ml_service"));
    let circuit = layer.handle();
    let (app, calls) = failing(layer);
    let server = Server::start(app).await;
    for connection in 1..=5 {
        let (head, _) = server.get("/a").await;
        assert_eq!(head.status, StatusCode::BAD_GATEWAY, "connection {connection}");
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    let (refused, _) = server.get("/a").await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(header(&refused, "retry-after").is_some());
    assert_eq!(calls.load(Ordering::Relaxed), 5);
}

#[tokio::test]
async fn routes_share_the_circuit_too() {
    let layer = CircuitBreakerLayer::builder("ml_service").consecutive_failures(4).build().unwrap();
    let (app, calls) = failing(layer);
    let server = Server::start(app).await;
    for path in ["/a", "/b", "/a", "/b"] {
        assert_eq!(server.get(path).await.0.status, StatusCode::BAD_GATEWAY, "{path}");
    }
    for path in ["/a", "/b"] {
        assert_eq!(server.get(path).await.0.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert_eq!(calls.load(Ordering::Relaxed), 4);
}

#[tokio::test]
async fn the_standard_stack_has_one_circuit_for_all_connections() {
    let layer = Standard::new(name!("ml_service"));
    let circuit = layer.handle().circuit_breaker().unwrap().clone();
    let (app, calls) = failing(layer);
    let server = Server::start(app).await;
    // Each request makes three attempts. The tenth attempt opens the circuit, and the next is refused.
    for connection in 1..=4 {
        let (head, _) = server.get("/a").await;
        assert_eq!(head.status, StatusCode::BAD_GATEWAY, "connection {connection}: its own last answer");
    }
    assert_eq!(circuit.state(), CircuitState::Open);
    assert_eq!(server.get("/b").await.0.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(calls.load(Ordering::Relaxed), 10);
}
