//! Whether a circuit refuses calls.

use std::fmt;

/// Whether a circuit refuses calls, or only says that it would: see
/// [`observe_only`](crate::CircuitBreakerBuilder::observe_only).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CircuitMode {
    /// It refuses calls.
    #[default]
    Enforcing,
    /// It counts and reports as if it refused calls, and refuses none. To everything else it is closed.
    Observing,
}

impl CircuitMode {
    /// As it is written in logs and reports: `enforcing`, `observing`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforcing => "enforcing",
            Self::Observing => "observing",
        }
    }
}

impl fmt::Display for CircuitMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
