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
        self.0.as_deref().and_then(read).unwrap_or(Admits::All)
    }
}

/// `None` if it isn't a circuit.
fn read(circuit: &dyn Inspect) -> Option<Admits> {
    let fields = circuit.state();
    let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
    let Some(Value::Text(state)) = field("state") else { return None };
    match &**state {
        "closed" => Some(Admits::All),
        "half-open" | "probe-due" => Some(Admits::One),
        "open" | "isolated" => Some(Admits::None(match field("remaining_wait") {
            Some(Value::Duration(wait)) => Some(*wait),
            _ => None,
        })),
        _ => None,
    }
}
