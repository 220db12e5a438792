//! What an operator's inventory shows of circuits.

use std::{future, time::Duration};

use backstop_core::{
    ConfigError, EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};
use backstop_kit::{check_request, log_text, operation_fields, telemetry::millis};

use crate::{
    CircuitBreakerHandle, CircuitStatus, KeyedCircuitBreakerHandle, Transition, circuit_group::CircuitGroup,
    config::Settings, state::WindowSize,
};

const OPERATIONS: &[Operation] = &[
    Operation::until("isolate", "stop-isolating"),
    Operation::once("stop-isolating"),
    Operation::once("close"),
    Operation::once("reset"),
    Operation::until("observe-only", "enforce"),
    Operation::once("enforce"),
];
const KEY: &str = "a key of exactly one circuit, as events show it";
const KEYED_OPERATIONS: &[Operation] = &[
    Operation::until("isolate", "stop-isolating").arguments(&[("key", KEY)]),
    Operation::once("stop-isolating").arguments(&[("key", KEY)]),
    Operation::once("close").arguments(&[("key", KEY)]),
    Operation::once("reset").arguments(&[("key", KEY)]),
    Operation::until("observe-only", "enforce").arguments(&[("key", KEY)]),
    Operation::once("enforce").arguments(&[("key", KEY)]),
];

impl Inspect for CircuitBreakerHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        kind(self.group())
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        settings(self.group())
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let counts = self.counts();
        vec![
            ("state", self.status().as_str().into()),
            ("mode", self.mode().as_str().into()),
            ("observed_state", self.observed_state().as_str().into()),
            ("admitted_share", self.admitted_share().into()),
            ("calls", counts.calls.into()),
            ("failures", counts.failures.into()),
            ("failures_in_a_row", counts.in_a_row.into()),
            ("slow", counts.slow.into()),
            ("remaining_wait", self.remaining_wait().into()),
            ("generation", self.generation().into()),
        ]
    }

    fn operations(&self) -> &'static [Operation] {
        OPERATIONS
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(run(self, request)))
    }

    fn report_to(&self, log: &EventLog) {
        self.group().report_to(log);
    }
}

fn run(handle: &CircuitBreakerHandle, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, OPERATIONS)?;
    operate(handle, request, None);
    Ok(Reach::Instance)
}

/// Runs a checked request. It is logged first: the transition is what it causes.
fn operate(handle: &CircuitBreakerHandle, request: &OperationRequest, key: Option<&str>) {
    let (operation, who, reason) = (request.name(), request.who(), request.reason());
    tracing::info!(
        target: "backstop::circuit_breaker",
        name = %handle.name(), key, operation, who, reason, until_ms = request.time().map(millis),
        "an operator sets the circuit"
    );
    if let Some(log) = handle.group().event_log() {
        let mut fields = operation_fields(request);
        fields.extend(key.map(|key| ("key", key.to_owned().into())));
        log.push(handle.name().clone(), kind(handle.group()), fields);
    }
    match operation {
        "isolate" => handle.isolate(),
        // Its time may be over after the isolation has ended and the circuit has opened by itself.
        "stop-isolating" if handle.status() != CircuitStatus::Isolated => {}
        "close" => handle.close(),
        "observe-only" => handle.observe_only(),
        "enforce" => handle.enforce(),
        _ => handle.reset(),
    }
}

/// Operations find a circuit by the key that its events show: see
/// [`key_in_logs`](crate::KeyedCircuitBreakerLayer::key_in_logs). Without it there are none.
impl<K> Inspect for KeyedCircuitBreakerHandle<K> {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        kind(self.group())
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        settings(self.group())
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        let mode = self.group().checked().circuit.mode;
        vec![("mode", mode.as_str().into()), ("circuits", self.len().into()), ("unguarded", self.unguarded().into())]
    }

    fn operations(&self) -> &'static [Operation] {
        if self.shows_keys() { KEYED_OPERATIONS } else { &[] }
    }

    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(run_keyed(self, request)))
    }

    fn report_to(&self, log: &EventLog) {
        self.group().report_to(log);
    }
}

fn run_keyed<K>(handle: &KeyedCircuitBreakerHandle<K>, request: &OperationRequest) -> Result<Reach, OperationError> {
    check_request(request, handle.operations())?;
    let key = request.text("key", KEY)?;
    let circuit = handle.find_shown(key).ok_or_else(|| ConfigError::new("key", log_text(key), KEY))?;
    operate(&circuit, request, Some(key));
    Ok(Reach::Instance)
}

const fn kind(group: &CircuitGroup) -> &'static str {
    if group.is_keyed() { "keyed-circuit-breaker" } else { "circuit-breaker" }
}

fn settings(group: &CircuitGroup) -> Vec<(&'static str, Value)> {
    let Settings { circuit, slow_after, recovery, .. } = group.checked();
    let mut settings = Vec::new();
    settings.extend(circuit.trip.in_a_row().map(|failures| ("consecutive_failures", failures.into())));
    if let Some((share, min_calls)) = circuit.trip.rate() {
        settings.extend([("failure_rate", share.get().into()), ("min_calls", min_calls.into())]);
    }
    settings.push(match circuit.window {
        WindowSize::Calls(calls) => ("window_calls", calls.into()),
        WindowSize::Time(nanos) => ("window_time", Duration::from_nanos(nanos).into()),
    });
    settings.extend([
        ("slow_after", slow_after.map(Duration::from_nanos).into()),
        ("slow_rate", circuit.slow.map(|slow| slow.share.get()).into()),
        ("wait", Duration::from_nanos(circuit.wait.first).into()),
        ("max_wait", Duration::from_nanos(circuit.wait.max).into()),
        ("success_threshold", circuit.success_threshold.into()),
        ("max_concurrent_probes", circuit.max_concurrent_probes.into()),
        ("probe_lease", Duration::from_nanos(circuit.probe_lease).into()),
        ("ramp", recovery.to_string().into()),
    ]);
    settings
}

/// Records a transition.
#[cold]
pub(crate) fn report(log: &EventLog, group: &CircuitGroup, key: Option<&str>, transition: &Transition) {
    let mut fields = vec![
        ("from", transition.from.as_str().into()),
        ("to", transition.to.as_str().into()),
        ("mode", transition.mode.as_str().into()),
        ("reason", transition.reason.as_str().into()),
        ("generation", transition.generation.into()),
    ];
    fields.extend(key.map(|key| ("key", key.to_owned().into())));
    log.push(group.name().clone(), kind(group), fields);
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use backstop_core::name;

    use super::*;
    use crate::{CircuitBreakerConfig, CircuitBreakerLayer};

    fn shown(of: &dyn Inspect, field: &str) -> Option<Value> {
        let mut all = of.settings().into_iter().chain(of.state());
        all.find(|(name, _)| *name == field).map(|(_, value)| value)
    }

    #[tokio::test]
    async fn a_circuit_shows_what_it_is_and_does_what_an_operator_asks_for() {
        let circuit = CircuitBreakerLayer::new(name!("ml")).handle();
        let of: &dyn Inspect = &circuit;
        assert_eq!((of.name().as_str(), of.kind(), of.dependency().as_str()), ("ml", "circuit-breaker", "ml"));
        assert_eq!(shown(of, "consecutive_failures"), Some(Value::Integer(5)));
        assert_eq!(shown(of, "state"), Some("closed".into()));
        let log = EventLog::new(8);
        of.report_to(&log);
        of.report_to(&EventLog::new(1));
        for operation in of.operations() {
            let request = OperationRequest::new(operation.name, "ada", "a drill");
            assert_eq!(of.operate(&request).await, Ok(Reach::Instance));
        }
        let error = of.operate(&OperationRequest::new("explode", "ada", "a drill")).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "operation is explode, allowed is: isolate, stop-isolating, close, reset, observe-only, enforce"
        );
        let events: Vec<_> =
            log.after(0).into_iter().map(|event| (event.fields[0].clone(), event.fields[1].clone())).collect();
        let asked = |operation: &'static str| (("operation", operation.into()), ("who", "ada".into()));
        let went = |from: &'static str, to: &'static str| (("from", from.into()), ("to", to.into()));
        let (isolated, closed) = (went("closed", "isolated"), went("isolated", "closed"));
        let all = [
            asked("isolate"),
            isolated,
            asked("stop-isolating"),
            closed,
            asked("close"),
            asked("reset"),
            asked("observe-only"),
            asked("enforce"),
        ];
        assert_eq!(events, all, "the first log stays, and says who comes before what");
        let mut config = CircuitBreakerConfig::new("ml");
        config.consecutive_failures = Some(7);
        circuit.reload(config).unwrap();
        assert_eq!(shown(of, "consecutive_failures"), Some(Value::Integer(7)));
    }

    #[tokio::test]
    async fn the_end_of_an_isolation_leaves_a_circuit_that_has_opened_since_then() {
        let layer = CircuitBreakerLayer::builder("ml").consecutive_failures(1).build().unwrap();
        let circuit = layer.handle();
        let ask = |operation: &str| OperationRequest::new(operation, "ada", "a drill");
        circuit.operate(&ask("isolate")).await.unwrap();
        circuit.operate(&ask("close")).await.unwrap();
        assert!(circuit.call(|| async { Err::<(), _>("down") }).await.is_err());
        assert_eq!(circuit.state(), crate::CircuitState::Open);
        assert_eq!(circuit.operate(&ask("stop-isolating")).await, Ok(Reach::Instance));
        assert_eq!(circuit.state(), crate::CircuitState::Open);
    }

    #[tokio::test]
    async fn an_operator_s_act_is_in_the_log_with_who_why_and_until() {
        let logs = backstop_test::Logs::new();
        let _guard = logs.listen();
        let circuit = CircuitBreakerLayer::new(name!("ml")).handle();
        let request = OperationRequest::new("isolate", "ada", "it answers nonsense").lasting(Duration::from_secs(60));
        assert_eq!(circuit.operate(&request).await, Ok(Reach::Instance));
        assert_eq!(
            logs.take().lines(),
            [
                "INFO backstop::circuit_breaker: an operator sets the circuit name=ml operation=\"isolate\" who=\"ada\" \
                 reason=\"it answers nonsense\" until_ms=60000.0",
                "INFO backstop::circuit_breaker: the circuit was set by hand name=ml from=\"closed\" to=\"isolated\" \
                 reason=\"manual\" generation=1",
            ]
        );
        for (who, reason, field) in [("", "a drill", "who"), ("ada", "", "reason")] {
            let error = circuit.operate(&OperationRequest::new("reset", who, reason)).await.unwrap_err();
            assert!(error.to_string().starts_with(field), "{error}");
        }
        assert_eq!(circuit.state(), crate::CircuitState::Isolated, "nothing has changed");
    }

    #[tokio::test]
    async fn operators_find_the_circuit_of_a_key_by_what_events_show_of_it() {
        let layer = CircuitBreakerLayer::builder("hosts").build_keyed(8, |host: &u32| *host).unwrap();
        let handle = layer.handle();
        assert!(handle.operations().is_empty(), "keys aren't shown");
        let request = |name: &str, key: &str| OperationRequest::new(name, "ada", "a drill").with("key", key.to_owned());
        assert!(handle.operate(&request("isolate", "host 7")).await.is_err());

        let layer = CircuitBreakerLayer::builder("hosts").build_keyed(8, |host: &u32| *host).unwrap();
        let layer = layer.key_in_logs(|host| format!("host {host}"));
        let (handle, log) = (layer.handle(), EventLog::new(8));
        handle.report_to(&log);
        let circuits = [7, 8].map(|host| CircuitBreakerHandle::new(handle.circuit(host).unwrap()));
        let of: &dyn Inspect = &handle;
        assert_eq!(of.operate(&request("isolate", "host 7")).await, Ok(Reach::Instance));
        assert_eq!(circuits.each_ref().map(|it| it.state().as_str()), ["isolated", "closed"]);
        assert_eq!(of.operate(&request("reset", "host 7")).await, Ok(Reach::Instance));
        assert_eq!(circuits[0].state().as_str(), "closed");
        let keys = log.after(0).into_iter().map(|event| event.fields.last().cloned());
        assert!(keys.eq((0..4).map(|_| Some(("key", Value::from("host 7"))))), "{log:?}");

        let error = of.operate(&request("isolate", "host 9")).await.unwrap_err().to_string();
        assert!(error.starts_with("key is \"host 9\""), "{error}");
        let without = OperationRequest::new("isolate", "ada", "a drill");
        assert!(of.operate(&without).await.unwrap_err().to_string().starts_with("key is missing"));
    }
}
