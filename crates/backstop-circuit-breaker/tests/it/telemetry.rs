//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop_circuit_breaker::{CircuitBreakerHandle, CircuitBreakerLayer, CircuitState};
use backstop_core::{EventLog, Inspect};
use backstop_test::{Logs, Scripted};
use http::{Request, StatusCode};
use tokio::time::advance;
use tower::{Layer, ServiceExt, service_fn};
use tracing::{Event, Level, Metadata, Subscriber, span};

const WAIT: Duration = Duration::from_secs(60);

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) {
    let answers = Scripted::statuses([status.as_u16()]);
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

/// Each event of a circuit with the key `host`, whose only call fails, and of one call that it refuses.
async fn keyed(show_keys: bool, host: &'static str) -> (Vec<String>, EventLog) {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let builder = CircuitBreakerLayer::builder("hosts").consecutive_failures(1).retry_after_jitter(0.0);
    let layer = builder.build_keyed(10, move |_: &Request<()>| host.to_owned()).unwrap();
    let layer = if show_keys { layer.key_in_logs(String::clone) } else { layer };
    let log = EventLog::new(8);
    layer.handle().report_to(&log);
    let service = layer.layer(Scripted::statuses([502]));
    for _ in 0..2 {
        service.clone().oneshot(Request::new(())).await.unwrap();
    }
    (logs.events().lines(), log)
}

#[tokio::test(start_paused = true)]
async fn the_events_of_a_keyed_circuit_show_its_key_if_that_was_chosen() {
    let (lines, log) = keyed(true, "ml.example\nWARN forged").await;
    #[rustfmt::skip]
    let expected = [
        r#"WARN backstop::circuit_breaker: the circuit opened name=hosts key="ml.example\\nWARN forged" from="closed" to="open" reason="failures" failures=1 calls=1 error="status 502" generation=1"#,
        r#"DEBUG backstop::circuit_breaker: a call was refused name=hosts key="ml.example\\nWARN forged" state="open" retry_after_ms=60000.0"#,
    ];
    assert_eq!(lines, expected);
    let fields = &log.after(0)[0].fields;
    assert_eq!(fields.last(), Some(&("key", r"ml.example\nWARN forged".to_owned().into())));

    let (lines, log) = keyed(false, "ml.example").await;
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| !line.contains("ml.example")), "{lines:?}");
    assert!(log.after(0)[0].fields.iter().all(|(name, _)| *name != "key"));
}

#[tokio::test(start_paused = true)]
async fn each_transition_and_each_refusal_is_one_event_without_anything_of_the_request() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    through_all_states(&layer()).await;
    #[rustfmt::skip]
    let expected = [
        r#"WARN backstop::circuit_breaker: the circuit opened name=upstream from="closed" to="open" reason="failures" failures=2 calls=2 error="status 502" generation=1"#,
        r#"DEBUG backstop::circuit_breaker: a call was refused name=upstream state="open" retry_after_ms=60000.0"#,
        r#"INFO backstop::circuit_breaker: the circuit lets probes through name=upstream from="open" to="half-open" reason="wait-passed" generation=2"#,
        r#"WARN backstop::circuit_breaker: the circuit opened again name=upstream from="half-open" to="open" reason="probe-failed" error="status 502" generation=3"#,
        r#"DEBUG backstop::circuit_breaker: the circuit lets probes through name=upstream from="open" to="half-open" reason="wait-passed" generation=4"#,
        r#"INFO backstop::circuit_breaker: the circuit closed name=upstream from="half-open" to="closed" reason="probes-succeeded" generation=5 left_out=1"#,
        r#"INFO backstop::circuit_breaker: the circuit was set by hand name=upstream from="closed" to="isolated" reason="manual" generation=6"#,
        r#"DEBUG backstop::circuit_breaker: a call was refused name=upstream state="isolated""#,
        r#"INFO backstop::circuit_breaker: the circuit was set by hand name=upstream from="isolated" to="closed" reason="manual" generation=7"#,
    ];
    assert_eq!(logs.events().lines(), expected);
}

/// Looks at the circuit at each event.
struct Looks {
    logs: Logs,
    handle: CircuitBreakerHandle,
    seen: Arc<Mutex<Vec<CircuitState>>>,
}

impl Subscriber for Looks {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.logs.enabled(metadata)
    }

    fn event(&self, _: &Event<'_>) {
        // Every one of these takes the circuit's lock.
        _ = (self.handle.counts(), self.handle.generation(), self.handle.remaining_wait());
        self.seen.lock().unwrap().push(self.handle.state());
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        self.logs.new_span(attributes)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn listeners_run_outside_the_lock_and_see_the_new_state() {
    use CircuitState::{Closed, HalfOpen, Isolated, Open};
    let (layer, seen) = (layer(), Arc::<Mutex<Vec<_>>>::default());
    let looks = Looks { logs: Logs::up_to(Level::DEBUG), handle: layer.handle(), seen: Arc::clone(&seen) };
    let _guard = tracing::subscriber::set_default(looks);
    through_all_states(&layer).await;
    let expected = [Open, Open, HalfOpen, Open, HalfOpen, Closed, Isolated, Isolated, Closed];
    assert_eq!(*seen.lock().unwrap(), expected);
}

fn told_of_both_sides(logs: &Logs) -> usize {
    logs.events().iter().filter(|event| event.message().contains("both sides of a request")).count()
}

/// A server and the client that it calls, with a circuit breaker each.
async fn through_both_sides(server: &CircuitBreakerLayer, client: &CircuitBreakerLayer, status: StatusCode) {
    let client = client.layer(Scripted::statuses([status.as_u16()]));
    let handler = service_fn(move |request: Request<()>| client.clone().oneshot(request));
    server.layer(handler).oneshot(Request::new(())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_layer_on_both_sides_of_a_request_is_told_of_once() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let layer = layer();
    let told = || told_of_both_sides(&logs);
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
    let warning = logs.events().at(Level::WARN).with_field("name", "upstream");
    assert!(warning.iter().any(|event| event.message().starts_with("a call was refused inside a probe")), "{warning}");
}

#[tokio::test(start_paused = true)]
async fn two_layers_on_the_two_sides_of_a_request_heal_and_nothing_is_told_of_them() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
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
    assert_eq!(told_of_both_sides(&logs), 0);
}
