//! Reads circuits and backlogs.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use backstop_core::{Inspect, Value};
use tokio::time::Instant;

use crate::{
    BacklogConfig, ComponentState,
    component::Backlog,
    engine::{CircuitReading, Slot, Source},
};

/// Something that is read every now and then, and the slot that it fills.
pub(crate) struct Sampled {
    pub(crate) component: usize,
    pub(crate) slot: usize,
    source: SampledSource,
}

pub(crate) enum SampledSource {
    Circuit(Arc<dyn Inspect>),
    Backlog(Backlog),
}

pub(crate) enum Reading {
    Circuit(CircuitReading),
    Backlog {
        len: u64,
        capacity: u64,
    },
    /// The code that reads it panicked.
    Panicked,
}

impl Sampled {
    pub(crate) const fn new(component: usize, slot: usize, source: SampledSource) -> Self {
        Self { component, slot, source }
    }

    /// A panic ends neither the driver nor a request for the view.
    pub(crate) fn read(&self) -> Reading {
        let read = || match &self.source {
            SampledSource::Circuit(circuit) => Reading::Circuit(read_circuit(&**circuit)),
            SampledSource::Backlog(backlog) => Reading::Backlog { len: (backlog.len)(), capacity: backlog.capacity },
        };
        catch_unwind(AssertUnwindSafe(read)).unwrap_or(Reading::Panicked)
    }
}

impl Reading {
    pub(crate) fn apply(self, now: Instant, slot: &mut Slot, thresholds: BacklogConfig) {
        let (len, capacity) = match self {
            Self::Circuit(reading) => return slot.read_circuit(now, reading),
            Self::Backlog { len, capacity } => (len, capacity),
            Self::Panicked => {
                let message = match &slot.source {
                    Source::Circuit { name, .. } => format!("reading circuit {name} panicked").into(),
                    _ => "reading the backlog panicked".into(),
                };
                return slot.set(ComponentState::Unknown, Some(message), None);
            }
        };
        let percent = |percent: u8| u128::from(capacity) * u128::from(percent);
        let hundred_len = 100 * u128::from(len);
        let state = if hundred_len >= percent(thresholds.degraded_percent) {
            ComponentState::Degraded
        } else if hundred_len <= percent(thresholds.healthy_percent) || slot.state == ComponentState::Unknown {
            ComponentState::Healthy
        } else {
            slot.state
        };
        // The number in the message is that of the moment when it became bad.
        if state != slot.state {
            let message = state.is_bad().then(|| format!("backlog is {len} of {capacity}").into());
            slot.set(state, message, None);
        }
    }
}

pub(crate) fn read_circuit(circuit: &dyn Inspect) -> CircuitReading {
    let fields = circuit.state();
    let field = |name| fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value);
    let Some(Value::Text(state)) = field("state") else {
        return CircuitReading::Unreadable;
    };
    let generation = || match field("generation") {
        Some(Value::Integer(generation)) => *generation,
        _ => 0,
    };
    match &**state {
        "closed" => CircuitReading::Closed,
        "open" => CircuitReading::Failing("open"),
        "half-open" => CircuitReading::Failing("half-open"),
        "isolated" => CircuitReading::Failing("isolated"),
        // It still refuses most calls.
        "recovering" => CircuitReading::Failing("recovering"),
        "probe-due" => CircuitReading::CallDue("open", generation()),
        "step-due" => CircuitReading::CallDue("recovering", generation()),
        _ => CircuitReading::Unreadable,
    }
}
