//! What one source says of a component, and for how long that holds.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Acquire},
    },
    time::Duration,
};

use backstop_core::Name;
use tokio::time::Instant;

use super::{IDLE_CIRCUIT, UNKNOWN_FOR};
use crate::ComponentState;

/// What one source says.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) source: Source,
    pub(crate) state: ComponentState,
    pub(crate) message: Option<Arc<str>>,
    /// Until when that holds.
    until: Option<Instant>,
}

#[derive(Debug)]
pub(crate) enum Source {
    /// Read every now and then.
    Sampled,
    /// Read every now and then. `idle_since` is set while nothing but a call is missing for the circuit to go on.
    Circuit { name: Name, failed: ComponentState, idle_since: Option<(u64, Instant)> },
    /// Must be renewed, else it is unknown.
    Probe,
    /// Bad once there was none for `timeout`. `last` has the nanoseconds from `began` to the last beat, plus 1.
    Heartbeat { timeout: Duration, began: Instant, last: Arc<AtomicU64> },
    /// Is forgotten, after having been unknown for a moment if it was bad.
    Reporter(Name),
}

/// What a circuit's handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CircuitReading {
    Closed,
    Failing(&'static str),
    /// Open, and its wait has passed; or recovering, and its step has ended: only a call is missing. With the circuit's state
    /// and generation.
    CallDue(&'static str, u64),
    Unreadable,
}

impl Slot {
    pub(crate) const fn new(source: Source) -> Self {
        Self { source, state: ComponentState::Unknown, message: None, until: None }
    }

    pub(crate) fn set(&mut self, state: ComponentState, message: Option<Arc<str>>, until: Option<Instant>) {
        self.state = state;
        self.message = message;
        self.until = until;
    }

    pub(crate) fn is_of_reporter(&self, name: &Name) -> bool {
        matches!(&self.source, Source::Reporter(reporter) if reporter == name)
    }

    pub(crate) const fn is_probe(&self) -> bool {
        matches!(self.source, Source::Probe)
    }

    pub(crate) fn read_circuit(&mut self, now: Instant, reading: CircuitReading) {
        let Source::Circuit { name, failed, idle_since } = &mut self.source else { return };
        let failed = *failed;
        if !matches!(reading, CircuitReading::CallDue(..)) {
            *idle_since = None;
        }
        let (state, what) = match reading {
            CircuitReading::Closed => return self.set(ComponentState::Healthy, None, None),
            CircuitReading::Failing(what) => (failed, what),
            CircuitReading::CallDue(what, generation) => {
                let (_, since) = *idle_since.get_or_insert((generation, now));
                if idle_since.is_some_and(|(seen, _)| seen != generation) {
                    *idle_since = Some((generation, now));
                } else if now >= since + IDLE_CIRCUIT {
                    return;
                }
                (failed, what)
            }
            CircuitReading::Unreadable => (ComponentState::Unknown, "unreadable"),
        };
        let until = idle_since.map(|(_, since)| since + IDLE_CIRCUIT);
        // Most readings bring nothing new.
        if self.state != state || self.until != until || self.message.is_none() {
            let message = format!("circuit {name} is {what}").into();
            self.set(state, Some(message), until);
        }
    }

    /// What holds at `now`. Returns whether the slot is to be kept.
    pub(crate) fn settle(&mut self, now: Instant) -> bool {
        if let Source::Heartbeat { timeout, began, last } = &self.source {
            let (beat, timeout) = (last_beat(*began, last), *timeout);
            let is_silent = now >= beat.unwrap_or(*began) + timeout;
            let state = match beat {
                _ if is_silent => ComponentState::Degraded,
                Some(_) => ComponentState::Healthy,
                None => ComponentState::Unknown,
            };
            if state != self.state {
                self.state = state;
                self.message = is_silent.then(|| format!("no heartbeat for {timeout:?}").into());
            }
            return true;
        }
        if self.until.is_none_or(|until| now < until) {
            return true;
        }
        let expired = self.until.take();
        match &self.source {
            Source::Reporter(_) if !self.state.is_bad() => return false,
            Source::Reporter(reporter) => {
                self.message = Some(format!("the report by {reporter} has expired").into());
                self.until = expired.map(|expired| expired + UNKNOWN_FOR);
            }
            Source::Probe => self.message = Some("the probe doesn't run any more".into()),
            Source::Circuit { name, .. } => {
                self.message = Some(format!("circuit {name} has had no calls for {IDLE_CIRCUIT:?}").into());
            }
            Source::Sampled | Source::Heartbeat { .. } => {}
        }
        self.state = ComponentState::Unknown;
        // The unknown moment may be over, too.
        self.until.is_none() || self.settle(now)
    }

    /// When it will change by itself.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        match &self.source {
            Source::Heartbeat { timeout, began, last } => {
                (self.state != ComponentState::Degraded).then(|| last_beat(*began, last).unwrap_or(*began) + *timeout)
            }
            _ => self.until,
        }
    }
}

fn last_beat(began: Instant, last: &AtomicU64) -> Option<Instant> {
    Some(began + Duration::from_nanos(last.load(Acquire).checked_sub(1)?))
}
