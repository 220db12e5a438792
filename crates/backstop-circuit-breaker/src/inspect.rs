//! What an operator's inventory shows of circuits.

use std::{future, time::Duration};

use backstop_core::{
    EventLog, Inspect, Name, Operation, OperationError, OperationFuture, OperationRequest, Reach, Value,
};

use crate::{
    CircuitBreakerHandle, KeyedCircuitBreakerHandle, Transition, circuit_group::CircuitGroup, config::Settings,
    state::WindowSize,
};

const OPERATIONS: &[Operation] =
    &[Operation::until("isolate", "reset"), Operation::once("close"), Operation::once("reset")];

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
    match request.name() {
        "isolate" => handle.isolate(),
        "close" => handle.close(),
        "reset" => handle.reset(),
        _ => return Err(request.unknown(OPERATIONS)),
    }
    Ok(Reach::Instance)
}

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
        vec![("circuits", self.len().into()), ("unguarded", self.unguarded().into())]
    }

    fn report_to(&self, log: &EventLog) {
        self.group().report_to(log);
    }
}

const fn kind(group: &CircuitGroup) -> &'static str {
    if group.is_keyed() { "keyed-circuit-breaker" } else { "circuit-breaker" }
}

fn settings(group: &CircuitGroup) -> Vec<(&'static str, Value)> {
    let Settings { circuit, slow_after, .. } = group.checked();
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
    ]);
    settings
}

/// Records a transition.
#[cold]
pub(crate) fn report(log: &EventLog, group: &CircuitGroup, key: Option<&str>, transition: &Transition) {
    let mut fields = vec![
        ("from", transition.from.as_str().into()),
        ("to", transition.to.as_str().into()),
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
        assert_eq!(error.to_string(), "operation is explode, allowed is: isolate, close, reset");
        let to: Vec<_> = log.after(0).into_iter().map(|event| event.fields[1].clone()).collect();
        assert_eq!(to, [("to", "isolated".into()), ("to", "closed".into())], "the first log stays");
        let mut config = CircuitBreakerConfig::new("ml");
        config.consecutive_failures = Some(7);
        circuit.reload(config).unwrap();
        assert_eq!(shown(of, "consecutive_failures"), Some(Value::Integer(7)));
    }
}
