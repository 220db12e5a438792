//! Where a circuit stands, as its handle shows it.

use std::fmt;

/// Where a circuit stands: its [state](crate::CircuitState), and for an open one whether its wait has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitStatus {
    /// Calls pass and are counted.
    Closed,
    /// Open, and waiting: calls are refused.
    Open,
    /// Open, and its wait has passed: the next call is a probe. Without calls, and without a
    /// [prober](crate::CircuitBreakerHandle::prober), it stays so.
    ProbeDue,
    /// Probes pass, other calls are refused.
    HalfOpen,
    /// Calls are refused until an operator says otherwise.
    Isolated,
    /// A growing share of the calls passes: see [`Recovery`](crate::Recovery).
    Recovering,
    /// Recovering, and the step has ended: the next call that its share refuses begins the next one. Without calls, and
    /// without a [prober](crate::CircuitBreakerHandle::prober), it stays so.
    StepDue,
}

impl CircuitStatus {
    /// As it is written in logs and reports: `closed`, `open`, `probe-due`, `half-open`, `isolated`, `recovering`,
    /// `step-due`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::ProbeDue => "probe-due",
            Self::HalfOpen => "half-open",
            Self::Isolated => "isolated",
            Self::Recovering => "recovering",
            Self::StepDue => "step-due",
        }
    }
}

impl fmt::Display for CircuitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
