//! Events of the layer, and its subscribers.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use backstop_core::Name;
use backstop_kit::telemetry::millis;
use tokio::sync::watch;

use crate::{
    CircuitMode, CircuitState, Transition, TransitionReason,
    breaker::Breaker,
    circuit_group::CircuitGroup,
    inspect,
    log_damper::LogDamper,
    metrics,
    state::{Circuit, ErrorOf, Nanos, Observer, Refused, SharedSettings},
};

/// Reports the transitions of one circuit.
#[derive(Debug)]
pub(crate) struct Telemetry {
    group: Arc<CircuitGroup>,
}

/// Subscribers, the key that events show, and what was logged.
#[derive(Debug, Default)]
pub(crate) struct Listeners {
    senders: Mutex<Senders>,
    key: OnceLock<Box<str>>,
    damper: LogDamper,
}

/// Each sender is created on first use.
#[derive(Clone, Debug, Default)]
struct Senders {
    state: Option<watch::Sender<CircuitState>>,
    /// The number of the latest transition.
    latest: Option<watch::Sender<u64>>,
}

impl Telemetry {
    pub(crate) const fn new(group: Arc<CircuitGroup>) -> Self {
        Self { group }
    }

    pub(crate) fn group(&self) -> &CircuitGroup {
        &self.group
    }

    /// Sets the gauges of the state.
    pub(crate) fn show_state(&self, circuit: &Circuit<Self>) {
        // One gauge can't show the states of many circuits.
        if !self.group.is_keyed() {
            let left = |until: Nanos| Duration::from_nanos(until.saturating_sub(self.group.now().get()));
            metrics::show_state(self.group.name(), || (circuit.state(), circuit.open_until()), left);
        }
    }
}

impl Listeners {
    /// Sets the key that events show.
    pub(crate) fn set_key(&self, key: String) {
        _ = self.key.set(key.into());
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.key.get().map(|key| &**key)
    }

    /// Subscribes to the state, which is `now()` at first.
    pub(crate) fn subscribe(&self, now: impl FnOnce() -> CircuitState) -> watch::Receiver<CircuitState> {
        // The state is read under the lock. A later transition takes the lock later, so it finds the sender.
        self.lock().state.get_or_insert_with(|| watch::Sender::new(now())).subscribe()
    }

    pub(crate) fn latest(&self) -> watch::Receiver<u64> {
        self.lock().latest.get_or_insert_with(|| watch::Sender::new(0)).subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Senders> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the subscribers, outside of our locks.
    fn wake(&self, transition: &Transition, circuit: &Circuit<Telemetry>) {
        let Senders { state, latest } = self.lock().clone();
        if let Some(state) = state {
            // Two threads may arrive here in another order than their transitions happened. So this shows the current state,
            // and not the transition's. The last thread shows the latest state.
            state.send_if_modified(|shown| {
                let now = circuit.state();
                std::mem::replace(shown, now) != now
            });
        }
        if let Some(latest) = latest {
            latest.send_if_modified(|seq| {
                let newer = transition.seq > *seq;
                *seq = transition.seq.max(*seq);
                newer
            });
        }
    }
}

impl Observer for Telemetry {
    type Listeners = Listeners;

    fn settings(&self) -> &SharedSettings {
        self.group.settings()
    }

    fn transition(&self, transition: &Transition, error: ErrorOf<'_>, circuit: &Circuit<Self>) {
        self.group.count_transition();
        let listeners = circuit.listeners();
        let left_out = listeners.damper.admit(transition, self.group.now().get(), self.group.log_budget());
        log(self.group.name(), listeners.key(), transition, left_out, error);
        metrics::entered(self.group.name(), transition.to);
        if let Some(log) = self.group.event_log() {
            inspect::report(log, &self.group, listeners.key(), transition);
        }
        self.show_state(circuit);
        listeners.wake(transition, circuit);
    }

    fn would_have_refused(&self, refused: Refused, circuit: &Circuit<Self>) {
        self.group.metrics().would_refuse();
        tracing::debug!(
            target: "backstop::circuit_breaker",
            name = %self.group.name(), key = circuit.listeners().key(), state = refused.state.as_str(),
            "a call would have been refused"
        );
    }
}

/// Without `left_out`, the transition is left out above `DEBUG`.
fn log(name: &Name, key: Option<&str>, transition: &Transition, left_out: Option<u64>, error: ErrorOf<'_>) {
    let Transition { from, to, mode, generation, reason, .. } = *transition;
    let (from, to) = (from.as_str(), to.as_str());
    let observing = (mode == CircuitMode::Observing).then_some(mode.as_str());
    // The fields are computed only if the event is enabled.
    macro_rules! tell {
        ($level:ident, $text:literal $(, $field:ident $(= $value:expr)?)*) => {
            tracing::$level!(
                target: "backstop::circuit_breaker",
                %name, key, from, to, mode = observing, reason = reason.as_str(), $($field $(= $value)?,)* generation,
                left_out = left_out.filter(|transitions| *transitions > 0), $text
            )
        };
    }
    macro_rules! tell_above_debug {
        ($level:ident, $text:literal $($fields:tt)*) => {
            if left_out.is_some() { tell!($level, $text $($fields)*) } else { tell!(debug, $text $($fields)*) }
        };
    }
    macro_rules! opened {
        ($text:literal $(, $field:ident)*) => {
            match mode {
                CircuitMode::Enforcing => tell_above_debug!(warn, $text $(, $field)*, error = error().as_deref()),
                CircuitMode::Observing => {
                    tell_above_debug!(info, "the circuit would have opened" $(, $field)*, error = error().as_deref());
                }
            }
        };
    }
    match reason {
        TransitionReason::Failures { failures, calls } => opened!("the circuit opened", failures, calls),
        TransitionReason::SlowCalls { slow, calls } => opened!("the circuit opened", slow, calls),
        TransitionReason::ProbeFailed | TransitionReason::ProbeSlow => opened!("the circuit opened again"),
        TransitionReason::WaitPassed => tell_above_debug!(info, "the circuit lets probes through"),
        TransitionReason::ProbesSucceeded if transition.to == CircuitState::Recovering => {
            tell_above_debug!(info, "the circuit lets a growing share of calls through");
        }
        TransitionReason::ProbesSucceeded | TransitionReason::RampEnded => {
            tell_above_debug!(info, "the circuit closed");
        }
        TransitionReason::Manual => tell_above_debug!(info, "the circuit was set by hand"),
    }
}

pub(crate) fn refused(breaker: &Breaker, state: CircuitState, retry_after: Option<Duration>) {
    breaker.group().metrics().refused();
    tracing::debug!(
        target: "backstop::circuit_breaker",
        name = %breaker.name(), key = breaker.circuit.listeners().key(), state = state.as_str(), retry_after_ms = retry_after.map(millis), "a call was refused"
    );
}

pub(crate) fn mode_changed(name: &Name, mode: CircuitMode) {
    tracing::info!(target: "backstop::circuit_breaker", %name, mode = mode.as_str(), "the mode was changed");
}

/// Logged once per layer, because the stack was built wrongly.
pub(crate) fn nested(name: &Name) {
    tracing::warn!(
        target: "backstop::circuit_breaker",
        %name,
        "a call was refused inside a probe of the same circuit, which can't close: the layer stands on both sides of a \
         request; give each side a layer of its own"
    );
}

pub(crate) fn unguarded(group: &CircuitGroup) {
    group.metrics().unguarded();
    let name = group.name();
    tracing::debug!(target: "backstop::circuit_breaker", %name, "a call had no circuit: there are as many keys as allowed");
}
