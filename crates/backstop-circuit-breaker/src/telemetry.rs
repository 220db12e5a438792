//! What the layer tells an operator.

use std::time::Duration;

use backstop_core::{CircuitState, Name};

use crate::state::{Cause, Observer, Transition};

/// Tells of one circuit, by its name.
#[derive(Debug)]
pub(crate) struct Telemetry {
    name: Name,
}

impl Telemetry {
    pub(crate) const fn new(name: Name) -> Self {
        Self { name }
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }
}

impl Observer for Telemetry {
    fn transition(&self, transition: &Transition) {
        let Self { name } = self;
        let Transition { from, to, generation, cause } = *transition;
        let (from, to) = (from.as_str(), to.as_str());
        match cause {
            Cause::Tripped { failures, calls } => tracing::warn!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "failures", failures, calls, generation,
                "the circuit opened"
            ),
            Cause::TrippedBySlowCalls { slow, calls } => tracing::warn!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "slow-calls", slow, calls, generation,
                "the circuit opened"
            ),
            Cause::ProbeSlow => tracing::warn!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "probe-slow", generation,
                "the circuit opened again"
            ),
            Cause::ProbeFailed => tracing::warn!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "probe-failed", generation,
                "the circuit opened again"
            ),
            Cause::WaitPassed => tracing::info!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "wait-passed", generation,
                "the circuit lets probes through"
            ),
            Cause::ProbesSucceeded => tracing::info!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "probes-succeeded", generation,
                "the circuit closed"
            ),
            Cause::Manual => tracing::info!(
                target: "backstop::circuit_breaker",
                %name, from, to, reason = "manual", generation,
                "the circuit was set by hand"
            ),
        }
    }
}

pub(crate) fn refused(name: &Name, state: CircuitState, retry_after: Option<Duration>) {
    let state = state.as_str();
    tracing::debug!(target: "backstop::circuit_breaker", %name, state, ?retry_after, "a call was refused");
}
