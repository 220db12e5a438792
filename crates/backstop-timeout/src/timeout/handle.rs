//! The handle.

use std::time::Duration;

use backstop_core::Name;

/// A timeout's limit, for calls of functions: see [`TimeoutLayer::handle`](crate::TimeoutLayer::handle).
#[derive(Clone, Debug)]
pub struct TimeoutHandle {
    name: Name,
    limit: Duration,
}

impl TimeoutHandle {
    pub(crate) const fn new(name: Name, limit: Duration) -> Self {
        Self { name, limit }
    }

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How long a call may take.
    #[must_use]
    pub const fn limit(&self) -> Duration {
        self.limit
    }
}
