//! The app's circuits, for the health report and the admin listener.

use std::sync::Arc;

use backstop::CircuitBreakerHandle;

/// All circuits of the app.
#[derive(Debug, Clone)]
pub struct Circuits(Arc<[CircuitBreakerHandle]>);

impl Circuits {
    pub(crate) fn new(circuits: impl IntoIterator<Item = CircuitBreakerHandle>) -> Self {
        Self(circuits.into_iter().collect())
    }

    /// Iterates over the circuits.
    pub fn iter(&self) -> impl Iterator<Item = &CircuitBreakerHandle> {
        self.0.iter()
    }

    /// The circuit of this name.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&CircuitBreakerHandle> {
        self.iter().find(|circuit| *circuit.name() == name)
    }
}
