//! The handle.

use std::{fmt, sync::Arc};

use backstop_core::Name;

use crate::{RetryBudget, layer_state::RetryState};

/// Shows the shared state of a layer: see [`RetryLayer::handle`](crate::RetryLayer::handle).
#[derive(Clone)]
pub struct RetryHandle {
    state: Arc<RetryState>,
}

impl RetryHandle {
    pub(crate) const fn new(state: Arc<RetryState>) -> Self {
        Self { state }
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.state.settings.name
    }

    /// The layer's budget, its own or a shared one; `None` with [`no_budget`](crate::RetryBuilder::no_budget).
    #[must_use]
    pub fn budget(&self) -> Option<&RetryBudget> {
        self.state.budget.as_ref()
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.debug(f.debug_struct("RetryHandle"))
    }
}
