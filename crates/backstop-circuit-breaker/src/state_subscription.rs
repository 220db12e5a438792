//! The state of a circuit, and each change of it.

use std::fmt;

use tokio::sync::watch;

use crate::CircuitState;

/// Watches the state of a circuit: see [`CircuitBreakerHandle::subscribe`](crate::CircuitBreakerHandle::subscribe).
#[derive(Clone)]
pub struct StateSubscription {
    states: watch::Receiver<CircuitState>,
}

impl StateSubscription {
    pub(crate) const fn new(states: watch::Receiver<CircuitState>) -> Self {
        Self { states }
    }

    /// The latest state. Marks it as seen.
    pub fn state(&mut self) -> CircuitState {
        *self.states.borrow_and_update()
    }

    /// Whether there is a state that wasn't seen yet.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.states.has_changed().unwrap_or(false)
    }

    /// Waits for a state that wasn't seen yet. `None` if the circuit doesn't exist any more.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<CircuitState> {
        self.states.changed().await.ok()?;
        Some(self.state())
    }

    /// Waits until `predicate` holds of the state. `None` if the circuit doesn't exist any more.
    ///
    /// # Cancellation
    /// Dropping the future loses nothing.
    pub async fn wait_for(&mut self, mut predicate: impl FnMut(CircuitState) -> bool) -> Option<CircuitState> {
        self.states.wait_for(|state| predicate(*state)).await.ok().map(|state| *state)
    }
}

impl fmt::Debug for StateSubscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateSubscription").field("state", &*self.states.borrow()).finish()
    }
}
