//! What an operator's inventory shows of stored answers.

use backstop_core::{Inspect, Name, Value};

use crate::LastKnownGoodHandle;

impl Inspect for LastKnownGoodHandle {
    fn name(&self) -> &Name {
        self.name()
    }

    fn kind(&self) -> &'static str {
        "last-known-good"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("max_stale", self.max_stale().into())]
    }

    fn state(&self) -> Vec<(&'static str, Value)> {
        vec![("entries", self.len().into())]
    }

    fn operations(&self) -> &'static [&'static str] {
        &["clear"]
    }

    fn operate(&self, operation: &str) -> Result<(), backstop_core::ConfigError> {
        if operation != "clear" {
            return Err(backstop_core::ConfigError::new("operation", operation.to_owned(), "clear"));
        }
        self.clear();
        Ok(())
    }
}
