//! What subscribers are told.

use std::{fmt, sync::Arc};

use backstop_core::CircuitState;
use tokio::sync::watch;

use crate::breaker::HasBreaker;

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Transition {
    /// How many there have been, with this one: without gaps, so that a gap tells how many a reader has missed.
    pub seq: u64,
    /// The state before.
    pub from: CircuitState,
    /// The state after.
    pub to: CircuitState,
    /// Why.
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
    /// Somebody used the handle.
    Manual,
}

impl TransitionReason {
    /// As it is written in logs: `failures`, `slow-calls`, `wait-passed`, `probe-failed`, `probe-slow`,
    /// `probes-succeeded`, `manual`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Failures { .. } => "failures",
            Self::SlowCalls { .. } => "slow-calls",
            Self::WaitPassed => "wait-passed",
            Self::ProbeFailed => "probe-failed",
            Self::ProbeSlow => "probe-slow",
            Self::ProbesSucceeded => "probes-succeeded",
            Self::Manual => "manual",
        }
    }
}

/// The transitions of a circuit, in order: see [`CircuitBreakerHandle::events`](crate::CircuitBreakerHandle::events).
pub struct Events {
    has: Arc<dyn HasBreaker>,
    /// The last transition that was read.
    seen: u64,
    latest: watch::Receiver<u64>,
}

impl Events {
    pub(crate) fn new(has: Arc<dyn HasBreaker>) -> Self {
        let circuit = &has.breaker().circuit;
        let latest = circuit.listeners().latest();
        let seen = circuit.keep_history();
        Self { has, seen, latest }
    }

    /// The next transition, as soon as there is one.
    ///
    /// The last 64 are kept. Whoever reads more slowly misses the oldest, and sees the gap in
    /// [`seq`](Transition::seq).
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Transition {
        loop {
            if let Some(transition) = self.try_next() {
                return transition;
            }
            // Told outside the lock, after the transition was kept: either it was found above, or it is still to be
            // told. It fails only where the circuit is gone, and this holds it.
            if self.latest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The next transition, if there has been one.
    pub fn try_next(&mut self) -> Option<Transition> {
        let transition = self.has.breaker().circuit.transition_after(self.seen)?;
        self.seen = transition.seq;
        Some(transition)
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.has.breaker().debug(f.debug_struct("Events"))
    }
}
