//! The operator's side of a retry.

use backstop_core::Name;

use crate::RetryBudget;

/// Looks at what all services of a layer share: see [`RetryLayer::handle`](crate::RetryLayer::handle).
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

    /// The budget that the layer draws on, its own or a shared one; `None` where it has
    /// [none](crate::RetryBuilder::no_budget).
    #[must_use]
    pub const fn budget(&self) -> Option<&RetryBudget> {
        self.budget.as_ref()
    }
}
