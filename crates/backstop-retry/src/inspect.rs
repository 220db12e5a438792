//! What an operator's inventory shows of a retry.

use backstop_core::{Inspect, Name, Value};

use crate::{RetryBudget, RetryHandle};

impl Inspect for RetryHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "retry"
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("budget", self.budget().as_ref().map(RetryBudget::available).into())]
    }
}
