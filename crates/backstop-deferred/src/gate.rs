//! Whether a worker may take jobs, by the circuit of what its jobs need, or by a closure.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Inspect, Value};

/// How many jobs a worker may begin, as a [gate](crate::Worker::gate_fn) says. Ordered: greater is stricter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Admission {
    /// As many as it runs at once.
    All,
    /// One at a time: the job is a probe.
    Probe,
    /// None. The gate is asked again after this time, if there is one, and each second.
    Pause(Option<Duration>),
}

type Gate = Arc<dyn Fn() -> Admission + Send + Sync>;

/// The gates of a worker. The strictest one counts.
#[derive(Clone, Default)]
pub(crate) struct Gates(Vec<Gate>);

impl Gates {
    pub(crate) fn add(&mut self, gate: impl Fn() -> Admission + Send + Sync + 'static) {
        self.0.push(Arc::new(gate));
    }

    /// Follows a circuit.
    pub(crate) fn add_circuit(&mut self, circuit: impl Inspect + 'static) -> Result<(), ConfigError> {
        if read(&circuit).is_none() {
            let allowed = "the handle of a circuit breaker, which shows the state of one circuit";
            return Err(ConfigError::new("gate", circuit.name().clone(), allowed));
        }
        // A state that this version doesn't know isn't taken for a closed circuit.
        self.add(move || read(&circuit).unwrap_or(Admission::Probe));
        Ok(())
    }

    pub(crate) fn admission(&self) -> Admission {
        self.0.iter().map(|gate| gate()).max().unwrap_or(Admission::All)
    }
}

/// `None` if it isn't a circuit, or its state isn't known.
fn read(circuit: &dyn Inspect) -> Option<Admission> {
    let fields = circuit.state();
    let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
    let Some(Value::Text(state)) = field("state") else { return None };
    match &**state {
        "closed" => Some(Admission::All),
        // A recovering circuit admits a share of the jobs: one at a time finds out when it is larger.
        "half-open" | "probe-due" | "recovering" | "step-due" => Some(Admission::Probe),
        "open" | "isolated" => Some(Admission::Pause(match field("remaining_wait") {
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
        let mut gates = Gates::default();
        gates.add_circuit(circuit).unwrap();
        assert_eq!(gates.admission(), Admission::All);
        is_rising.store(true, Relaxed);
        assert_eq!(gates.admission(), Admission::Probe);
    }

    #[test]
    fn of_several_gates_the_strictest_counts() {
        let second = Some(Duration::from_secs(1));
        let mut gates = Gates::default();
        assert_eq!(gates.admission(), Admission::All);
        for (next, strictest) in [
            (Admission::Probe, Admission::Probe),
            (Admission::All, Admission::Probe),
            (Admission::Pause(None), Admission::Pause(None)),
            (Admission::Pause(second), Admission::Pause(second)),
            (Admission::Probe, Admission::Pause(second)),
        ] {
            gates.add(move || next);
            assert_eq!(gates.admission(), strictest);
        }
    }
}
