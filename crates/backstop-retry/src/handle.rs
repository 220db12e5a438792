//! The handle.

use backstop_core::Name;

use crate::RetryBudget;

/// Shows the shared state of a layer: see [`RetryLayer::handle`](crate::RetryLayer::handle).
#[derive(Clone, Debug)]
pub struct RetryHandle {
    name: Name,
    budget: Option<RetryBudget>,
}

impl RetryHandle {
    pub(crate) const fn new(name: Name, budget: Option<RetryBudget>) -> Self {
        Self { name, budget }
    }

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The layer's budget, its own or a shared one; `None` with [`no_budget`](crate::RetryBuilder::no_budget).
    #[must_use]
    pub const fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }
}
