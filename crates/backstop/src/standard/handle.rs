//! The operator's side of a standard stack.

use std::{fmt, sync::Arc};

use backstop_core::{Inspect, Name};

use crate::{BulkheadHandle, CircuitBreakerHandle, RetryHandle};

/// The handles of all parts of a [`Standard`](super::Standard) stack: see [`Standard::handle`](super::Standard::handle).
///
/// A part that was left out has none.
#[derive(Clone)]
pub struct StandardHandle {
    pub(super) name: Name,
    pub(super) retry: Option<RetryHandle>,
    pub(super) circuit_breaker: Option<CircuitBreakerHandle>,
    pub(super) bulkhead: Option<BulkheadHandle>,
    pub(super) last_known_good: Option<Arc<dyn Inspect>>,
}

impl StandardHandle {
    /// The stack's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// The retry's handle.
    #[must_use]
    pub const fn retry(&self) -> Option<&RetryHandle> {
        self.retry.as_ref()
    }

    /// The circuit's handle.
    #[must_use]
    pub const fn circuit_breaker(&self) -> Option<&CircuitBreakerHandle> {
        self.circuit_breaker.as_ref()
    }

    /// The bulkhead's handle.
    #[must_use]
    pub const fn bulkhead(&self) -> Option<&BulkheadHandle> {
        self.bulkhead.as_ref()
    }

    /// Every part that has something to show, from outside to inside, for an inventory.
    ///
    /// ```
    /// use backstop::{name, standard};
    ///
    /// let handle = standard(name!("ml")).handle();
    /// let kinds: Vec<_> = handle.parts().map(|part| part.kind()).collect();
    /// assert_eq!(kinds, ["retry", "circuit-breaker", "bulkhead"]);
    /// ```
    pub fn parts(&self) -> impl Iterator<Item = &dyn Inspect> {
        let Self { name: _, retry, circuit_breaker, bulkhead, last_known_good } = self;
        let parts: [Option<&dyn Inspect>; 4] = [
            last_known_good.as_deref(),
            retry.as_ref().map(|part| part as _),
            circuit_breaker.as_ref().map(|part| part as _),
            bulkhead.as_ref().map(|part| part as _),
        ];
        parts.into_iter().flatten()
    }
}

impl fmt::Debug for StandardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, retry, circuit_breaker, bulkhead, last_known_good: _ } = self;
        f.debug_struct("StandardHandle")
            .field("name", name)
            .field("retry", retry)
            .field("circuit_breaker", circuit_breaker)
            .field("bulkhead", bulkhead)
            .finish_non_exhaustive()
    }
}
