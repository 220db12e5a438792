//! Whether a worker may take jobs, by the circuit of what its jobs need.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Inspect, Value};

/// Follows a circuit, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Gate(Option<Arc<dyn Inspect>>);

/// How many jobs may run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admits {
    /// The circuit is closed.
    All,
    /// The circuit probes, or is about to: the job is the probe.
    One,
    /// The circuit is open, for this time if it knows.
    None(Option<Duration>),
}

impl Gate {
    pub(crate) fn new(circuit: impl Inspect + 'static) -> Result<Self, ConfigError> {
        if read(&circuit).is_none() {
            let allowed = "the handle of a circuit breaker, which shows the state of one circuit";
            return Err(ConfigError::new("gate", circuit.name().clone(), allowed));
        }
        Ok(Self(Some(Arc::new(circuit))))
    }

    pub(crate) fn admits(&self) -> Admits {
        // A state that this version doesn't know isn't taken for a closed circuit.
        self.0.as_deref().map_or(Admits::All, |circuit| read(circuit).unwrap_or(Admits::One))
    }
}

/// `None` if it isn't a circuit, or its state isn't known.
fn read(circuit: &dyn Inspect) -> Option<Admits> {
    let fields = circuit.state();
    let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
    let Some(Value::Text(state)) = field("state") else { return None };
    match &**state {
        "closed" => Some(Admits::All),
        // A recovering circuit admits a share of the jobs: one at a time finds out when it is larger.
        "half-open" | "probe-due" | "recovering" | "step-due" => Some(Admits::One),
        "open" | "isolated" => Some(Admits::None(match field("remaining_wait") {
            Some(Value::Duration(wait)) => Some(*wait),
            _ => None,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use backstop_core::{EventLog, Name, name};

    use super::*;

    /// A circuit of a later version.
    struct Circuit {
        name: Name,
        is_rising: Arc<AtomicBool>,
    }

    impl Inspect for Circuit {
        fn name(&self) -> &Name {
            &self.name
        }

        fn kind(&self) -> &'static str {
            "circuit-breaker"
        }

        fn settings(&self) -> Vec<(&'static str, Value)> {
            Vec::new()
        }

        fn state(&self) -> Vec<(&'static str, Value)> {
            vec![("state", if self.is_rising.load(Relaxed) { "rising" } else { "closed" }.into())]
        }

        fn report_to(&self, _log: &EventLog) {}
    }

    #[test]
    fn an_unknown_state_admits_one_job_at_a_time() {
        let is_rising = Arc::new(AtomicBool::new(false));
        let circuit = Circuit { name: name!("mail"), is_rising: Arc::clone(&is_rising) };
        let gate = Gate::new(circuit).unwrap();
        assert_eq!(gate.admits(), Admits::All);
        is_rising.store(true, Relaxed);
        assert_eq!(gate.admits(), Admits::One);
    }
}
