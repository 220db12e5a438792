//! A change of state.

use crate::{CircuitMode, CircuitState};

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// The number of this transition, counted from 1 without gaps. A reader that sees a gap has missed some.
    pub seq: u64,
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// Whether the circuit refuses calls by its new state, or only observes.
    pub mode: CircuitMode,
    /// Why it changed.
    pub reason: TransitionReason,
    /// The generation that it starts.
    pub generation: u64,
}

/// Why a circuit changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransitionReason {
    /// Too many failures.
    Failures {
        /// The failures that were counted.
        failures: u32,
        /// The calls that they are out of.
        calls: u32,
    },
    /// Too many slow calls.
    SlowCalls {
        /// The slow calls in the window.
        slow: u32,
        /// All calls in it.
        calls: u32,
    },
    /// A call came, and the wait had passed.
    WaitPassed,
    /// A probe failed.
    ProbeFailed,
    /// A probe succeeded, but was as slow as what opens the circuit.
    ProbeSlow,
    /// Enough probes succeeded.
    ProbesSucceeded,
    /// The last step of the ramp has ended.
    RampEnded,
    /// An operator used the handle.
    Manual,
}

impl TransitionReason {
    /// As it is written in logs: `failures`, `slow-calls`, `wait-passed`, `probe-failed`, `probe-slow`,
    /// `probes-succeeded`, `ramp-ended`, `manual`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures { .. } => "failures",
            Self::SlowCalls { .. } => "slow-calls",
            Self::WaitPassed => "wait-passed",
            Self::ProbeFailed => "probe-failed",
            Self::ProbeSlow => "probe-slow",
            Self::ProbesSucceeded => "probes-succeeded",
            Self::RampEnded => "ramp-ended",
            Self::Manual => "manual",
        }
    }
}
