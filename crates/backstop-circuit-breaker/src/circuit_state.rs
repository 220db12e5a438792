//! The state of a circuit, which is also the detail of a refusal.

use std::fmt;

use backstop_core::{Name, RejectionDetail};

/// The state of a circuit: the detail of a circuit breaker's [`Rejection`](backstop_core::Rejection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// Probes pass, other calls are refused.
    HalfOpen,
    /// Calls are refused until an operator says otherwise.
    Isolated,
    /// The probes have succeeded, and a growing share of the calls passes: see [`Recovery`](crate::Recovery).
    Recovering,
}

impl CircuitState {
    /// As it is written in logs, metrics and answers: `closed`, `open`, `half-open`, `isolated`, `recovering`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Isolated => "isolated",
            Self::Recovering => "recovering",
        }
    }

    /// A static reference, so that a rejection doesn't allocate.
    pub(crate) const fn as_static(self) -> &'static Self {
        match self {
            Self::Closed => &Self::Closed,
            Self::Open => &Self::Open,
            Self::HalfOpen => &Self::HalfOpen,
            Self::Isolated => &Self::Isolated,
            Self::Recovering => &Self::Recovering,
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl RejectionDetail for CircuitState {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "circuit {by} is {self}")
    }
}
