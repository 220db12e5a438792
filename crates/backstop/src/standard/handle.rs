//! The operator's side of a standard stack.

use std::{fmt, sync::Arc};

use backstop_core::{ConfigError, Inspect, Name};

use super::{StandardConfig, stack::Stack};
use crate::{BulkheadHandle, CircuitBreakerHandle, PropagateDeadlineHandle, RetryHandle, TimeoutHandle};

/// The handles of all parts of a [`Standard`](super::Standard) stack: see [`Standard::handle`](super::Standard::handle).
///
/// A part that was left out has none. `reload` on a part's handle is checked against the other parts, as
/// [`reload`](Self::reload) of all of them is, and both run one after another. So a stack never has settings that contradict
/// one another.
#[derive(Clone)]
pub struct StandardHandle {
    name: Name,
    stack: Arc<Stack>,
    retry: Option<RetryHandle>,
    circuit_breaker: Option<CircuitBreakerHandle>,
    bulkhead: Option<BulkheadHandle>,
    timeout: Option<TimeoutHandle>,
    propagate_deadline: Option<PropagateDeadlineHandle>,
    last_known_good: Option<Arc<dyn Inspect>>,
}

impl StandardHandle {
    /// The handle of a stack with these parts.
    pub(super) fn new(name: Name, stack: Stack, last_known_good: Option<Arc<dyn Inspect>>) -> Self {
        let stack = Arc::new(stack);
        let (retry, circuit_breaker) = (stack.retry.clone(), stack.circuit_breaker.clone());
        let (bulkhead, timeout) = (stack.bulkhead.clone(), stack.timeout.clone());
        let propagate_deadline = stack.propagate_deadline.clone();
        Self {
            name,
            retry: retry.map(|handle| handle.in_stack(Arc::clone(&stack) as _)),
            circuit_breaker: circuit_breaker.map(|handle| handle.in_stack(Arc::clone(&stack) as _)),
            bulkhead: bulkhead.map(|handle| handle.in_stack(Arc::clone(&stack) as _)),
            timeout: timeout.map(|handle| handle.in_stack(Arc::clone(&stack) as _)),
            propagate_deadline: propagate_deadline.map(|handle| handle.in_stack(Arc::clone(&stack) as _)),
            stack,
            last_known_good,
        }
    }

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

    /// The timeout's handle.
    #[must_use]
    pub const fn timeout(&self) -> Option<&TimeoutHandle> {
        self.timeout.as_ref()
    }

    /// The handle of deadline propagation.
    #[must_use]
    pub const fn propagate_deadline(&self) -> Option<&PropagateDeadlineHandle> {
        self.propagate_deadline.as_ref()
    }

    /// The settings of all parts, as they were built or reloaded last.
    #[must_use]
    pub fn config(&self) -> StandardConfig {
        self.stack.config()
    }

    /// Changes the settings of all parts while calls run, each as its own handle does. Either all of them, or none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop::{Standard, name};
    ///
    /// let ml = Standard::new(name!("ml")).handle();
    /// let mut config = ml.config();
    /// config.timeout.as_mut().unwrap().limit = Duration::from_millis(250);
    /// ml.reload(config)?;
    /// assert_eq!(ml.timeout().unwrap().limit(), Duration::from_millis(250));
    /// # Ok::<(), backstop::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`StandardBuilder::build`](super::StandardBuilder::build), for a part with another name than the stack's, for a
    /// setting that can't be reloaded, and for a part that is added or left out. Nothing changes then.
    pub fn reload(&self, config: StandardConfig) -> Result<(), ConfigError> {
        self.stack.reload(config)
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &StandardConfig) -> Result<(), ConfigError> {
        self.stack.check(config)
    }

    /// Every part, from outside to inside, for an inventory.
    ///
    /// ```
    /// use backstop::{Standard, name};
    ///
    /// let handle = Standard::new(name!("ml")).handle();
    /// let kinds: Vec<_> = handle.parts().map(|part| part.kind()).collect();
    /// assert_eq!(kinds, ["retry", "circuit-breaker", "bulkhead", "timeout", "propagate-deadline"]);
    /// ```
    pub fn parts(&self) -> impl Iterator<Item = &dyn Inspect> {
        let Self { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good, .. } = self;
        let parts: [Option<&dyn Inspect>; 6] = [
            last_known_good.as_deref(),
            retry.as_ref().map(|part| part as _),
            circuit_breaker.as_ref().map(|part| part as _),
            bulkhead.as_ref().map(|part| part as _),
            timeout.as_ref().map(|part| part as _),
            propagate_deadline.as_ref().map(|part| part as _),
        ];
        parts.into_iter().flatten()
    }

    /// The same parts as an inventory takes them: `inventory.register_all(handle.components())`.
    #[must_use]
    pub fn components(&self) -> Vec<Arc<dyn Inspect>> {
        let Self { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good, .. } = self.clone();
        let parts: [Option<Arc<dyn Inspect>>; 6] = [
            last_known_good,
            retry.map(|part| Arc::new(part) as _),
            circuit_breaker.map(|part| Arc::new(part) as _),
            bulkhead.map(|part| Arc::new(part) as _),
            timeout.map(|part| Arc::new(part) as _),
            propagate_deadline.map(|part| Arc::new(part) as _),
        ];
        parts.into_iter().flatten().collect()
    }
}

impl fmt::Debug for StandardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, retry, circuit_breaker, bulkhead, timeout, propagate_deadline, .. } = self;
        f.debug_struct("StandardHandle")
            .field("name", name)
            .field("retry", retry)
            .field("circuit_breaker", circuit_breaker)
            .field("bulkhead", bulkhead)
            .field("timeout", timeout)
            .field("propagate_deadline", propagate_deadline)
            .finish_non_exhaustive()
    }
}
