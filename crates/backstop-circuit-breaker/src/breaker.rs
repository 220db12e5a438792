//! A circuit with its name, clock and telemetry.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ErrorRef, Name, Outcome, Verdict, scope};

use crate::{
    circuit_group::CircuitGroup,
    config::Settings,
    failure::Failure,
    metrics,
    state::{self, Admission, AskedAhead, Circuit, Nanos, Refused, nanos},
    telemetry::Telemetry,
};

/// A circuit with a clock and a name.
#[derive(Debug)]
#[expect(unnameable_types, reason = "only our own `CircuitRef`s return it")]
pub struct Breaker {
    pub(crate) circuit: Circuit<Telemetry>,
}

/// Owns a circuit.
pub(crate) trait HasBreaker: Send + Sync {
    fn breaker(&self) -> &Breaker;
}

impl Breaker {
    pub(crate) fn new(group: Arc<CircuitGroup>, settings: &state::Settings) -> Self {
        Self { circuit: Circuit::new(settings, Telemetry::new(group)) }
    }

    pub(crate) fn reload(&self, settings: &Settings) {
        self.group().reload(settings, || self.circuit.reload(&settings.circuit));
    }

    /// Whether the circuit may be dropped to make room.
    pub(crate) fn is_evictable(&self) -> bool {
        self.circuit.is_evictable(self.now())
    }

    /// Shows name and state. Strategies may be closures, which have nothing to show.
    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", self.name()).field("state", &self.circuit.state()).finish_non_exhaustive()
    }

    pub(crate) fn group(&self) -> &CircuitGroup {
        self.circuit.observer().group()
    }

    pub(crate) fn name(&self) -> &Name {
        self.group().name()
    }

    /// Shows the state to the metrics recorder, once.
    pub(crate) fn show_state(&self) {
        if self.group().has_another_recorder() {
            self.circuit.observer().show_state(&self.circuit);
        }
    }

    pub(crate) fn now(&self) -> Nanos {
        self.group().now().get()
    }

    /// What a call can know before it is made.
    #[cold]
    pub(crate) fn ask_ahead(&self, kept: Option<AskedAhead>) -> Option<AskedAhead> {
        self.circuit.ask_ahead(kept, || self.now())
    }

    /// Admits or refuses a call, which was told `told` before.
    #[inline]
    pub(crate) fn admit(&self, told: Option<AskedAhead>) -> Result<Admission, Refused> {
        match told {
            None => self.circuit.admit(|| self.now(), time_left),
            Some(told) => self.admit_as_told(told),
        }
    }

    #[cold]
    fn admit_as_told(&self, told: AskedAhead) -> Result<Admission, Refused> {
        self.circuit.admit_as_told(told, || self.now(), time_left)
    }

    /// Records that the service failed to become ready for a call that was told `told`.
    pub(crate) fn record_without_call(&self, told: Option<AskedAhead>, outcome: Outcome, error: ErrorRef<'_>) {
        if outcome.verdict == Verdict::Failure
            && let Ok(admission) = self.admit(told)
        {
            let failure = Failure::NotReady(error);
            self.group().metrics().ended(outcome.verdict, Duration::ZERO);
            metrics::failed(self.name(), failure);
            let finished = self.group().finished(outcome, false);
            self.circuit.record_failed(admission, finished, || self.now(), &|| self.error_text(failure));
        }
    }

    pub(crate) fn error_text(&self, failure: Failure<'_>) -> Option<Cow<'static, str>> {
        failure.text(self.group().error_text())
    }

    /// `Retry-After` of a refusal while the circuit stays open for `wait`.
    pub(crate) fn retry_after(&self, wait: Nanos) -> Duration {
        self.group().retry_after(wait)
    }
}

/// How long the caller of the current request will wait, if known. Starts its time.
pub(crate) fn time_left() -> Option<Nanos> {
    scope::time_left().map(nanos)
}
