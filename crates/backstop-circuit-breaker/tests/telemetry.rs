//! What an operator sees.

#![cfg(not(backstop_loom))]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tracing_subscriber::filter::LevelFilter;

#[derive(Clone, Default)]
struct Log {
    text: Arc<Mutex<String>>,
    looks_at: Arc<Mutex<Option<CircuitBreakerHandle>>>,
    seen: Arc<Mutex<Vec<CircuitState>>>,
}

impl io::Write for Log {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.text.lock().unwrap().push_str(std::str::from_utf8(text).unwrap());
        if let Some(handle) = &*self.looks_at.lock().unwrap() {
            // Every one of these takes the circuit's lock.
            _ = (handle.counts(), handle.generation(), handle.remaining_wait());
            self.seen.lock().unwrap().push(handle.state());
        }
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn listen(&self) -> tracing::subscriber::DefaultGuard {
        let writer = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(LevelFilter::DEBUG)
            .with_ansi(false)
            .without_time()
            .with_writer(move || writer.clone());
        tracing::subscriber::set_default(subscriber.finish())
    }
}

const WAIT: Duration = Duration::from_secs(60);

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) {
    let answers = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
    layer.layer(answers).oneshot(Request::get("/users/7").body(()).unwrap()).await.unwrap();
}

async fn through_all_states(layer: &CircuitBreakerLayer) {
    call(layer, StatusCode::OK).await;
    for _ in 0..2 {
        call(layer, StatusCode::BAD_GATEWAY).await;
    }
    call(layer, StatusCode::OK).await;
    advance(WAIT).await;
    call(layer, StatusCode::BAD_GATEWAY).await;
    advance(WAIT).await;
    for _ in 0..2 {
        call(layer, StatusCode::OK).await;
    }
    layer.handle().isolate();
    call(layer, StatusCode::OK).await;
    layer.handle().reset();
}

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(2).retry_after_jitter(0.0).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn each_transition_and_each_refusal_is_one_event_without_anything_of_the_request() {
    let log = Log::default();
    let _guard = log.listen();
    through_all_states(&layer()).await;
    let expected = r#"
 WARN backstop::circuit_breaker: the circuit opened name=upstream from="closed" to="open" reason="failures" failures=2 calls=2 error="status 502" generation=1
DEBUG backstop::circuit_breaker: a call was refused name=upstream state="open" retry_after=Some(60s)
 INFO backstop::circuit_breaker: the circuit lets probes through name=upstream from="open" to="half-open" reason="wait-passed" generation=2
 WARN backstop::circuit_breaker: the circuit opened again name=upstream from="half-open" to="open" reason="probe-failed" error="status 502" generation=3
 INFO backstop::circuit_breaker: the circuit lets probes through name=upstream from="open" to="half-open" reason="wait-passed" generation=4
 INFO backstop::circuit_breaker: the circuit closed name=upstream from="half-open" to="closed" reason="probes-succeeded" generation=5
 INFO backstop::circuit_breaker: the circuit was set by hand name=upstream from="closed" to="isolated" reason="manual" generation=6
DEBUG backstop::circuit_breaker: a call was refused name=upstream state="isolated" retry_after=None
 INFO backstop::circuit_breaker: the circuit was set by hand name=upstream from="isolated" to="closed" reason="manual" generation=7
"#;
    assert_eq!(log.text.lock().unwrap().trim(), expected.trim());
}

#[tokio::test(start_paused = true)]
async fn listeners_run_outside_the_lock_and_see_the_new_state() {
    use CircuitState::{Closed, HalfOpen, Isolated, Open};
    let log = Log::default();
    let _guard = log.listen();
    let layer = layer();
    *log.looks_at.lock().unwrap() = Some(layer.handle());
    through_all_states(&layer).await;
    let seen = [Open, Open, HalfOpen, Open, HalfOpen, Closed, Isolated, Isolated, Closed];
    assert_eq!(*log.seen.lock().unwrap(), seen);
}

/// A server and the client that it calls, with a circuit breaker each.
async fn through_both_sides(server: &CircuitBreakerLayer, client: &CircuitBreakerLayer, status: StatusCode) {
    let client = client.layer(service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    }));
    let handler = service_fn(move |request: Request<()>| client.clone().oneshot(request));
    server.layer(handler).oneshot(Request::new(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_on_both_sides_of_a_request_is_told_of_once() {
    let log = Log::default();
    let _guard = log.listen();
    let layer = layer();
    let told = || log.text.lock().unwrap().matches("both sides of a request").count();
    while layer.handle().state() == CircuitState::Closed {
        through_both_sides(&layer, &layer, StatusCode::BAD_GATEWAY).await;
    }
    for _ in 0..3 {
        assert_eq!(told(), usize::from(layer.handle().generation() > 1));
        advance(WAIT).await;
        through_both_sides(&layer, &layer, StatusCode::OK).await;
        assert_ne!(layer.handle().state(), CircuitState::Closed, "its probe was refused by itself");
    }
    assert_eq!(told(), 1);
    assert!(log.text.lock().unwrap().contains(" WARN backstop::circuit_breaker: a call was refused inside a probe"));
}

#[tokio::test(start_paused = true)]
async fn two_layers_on_the_two_sides_of_a_request_heal_and_nothing_is_told_of_them() {
    let log = Log::default();
    let _guard = log.listen();
    let (server, client) = (layer(), layer());
    while server.handle().state() == CircuitState::Closed {
        through_both_sides(&server, &client, StatusCode::BAD_GATEWAY).await;
    }
    advance(WAIT).await;
    for _ in 0..2 {
        through_both_sides(&server, &client, StatusCode::OK).await;
    }
    assert_eq!([server, client].map(|layer| layer.handle().state()), [CircuitState::Closed; 2]);
    // A refusal beside a probe, not inside it, is nothing special.
    assert!(!log.text.lock().unwrap().contains("both sides of a request"));
}
