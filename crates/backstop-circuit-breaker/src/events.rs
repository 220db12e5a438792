//! The transitions of a circuit, one by one.

use std::{fmt, sync::Arc};

use tokio::sync::watch;

use crate::{Transition, breaker::HasBreaker};

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
    /// The last 64 are kept. A slower reader misses the oldest and sees the gap in
    /// [`seq`](Transition::seq).
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Transition {
        loop {
            if let Some(transition) = self.try_next() {
                return transition;
            }
            // Listeners are notified outside the lock, after the transition was kept. So a transition not found above
            // is still to be notified. This fails only if the circuit is gone, but `self` keeps it alive.
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
