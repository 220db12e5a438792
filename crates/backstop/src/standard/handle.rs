//! The operator's side of a standard stack.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use backstop_core::{ConfigError, Inspect, Name};

use super::StandardConfig;
use crate::{BulkheadHandle, CircuitBreakerHandle, PropagateDeadlineHandle, RetryHandle, TimeoutHandle};

/// The handles of all parts of a [`Standard`](super::Standard) stack: see [`Standard::handle`](super::Standard::handle).
///
/// A part that was left out has none.
#[derive(Clone)]
pub struct StandardHandle {
    pub(super) name: Name,
    pub(super) retry: Option<RetryHandle>,
    pub(super) circuit_breaker: Option<CircuitBreakerHandle>,
    pub(super) bulkhead: Option<BulkheadHandle>,
    pub(super) timeout: Option<TimeoutHandle>,
    pub(super) propagate_deadline: Option<PropagateDeadlineHandle>,
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

    /// Changes the settings of all parts while calls run, each as its own handle does. Either all of them, or none.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop::{StandardConfig, name, standard};
    ///
    /// let ml = standard(name!("ml")).handle();
    /// let mut config = StandardConfig::new("ml");
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
        // One after another, or two of them could leave a mixture that neither asked for. One lock for all stacks is enough:
        // reloads are rare and short.
        static RELOADING: Mutex<()> = Mutex::new(());
        let _reloading = RELOADING.lock().unwrap_or_else(PoisonError::into_inner);
        self.check(&config)?;
        let StandardConfig { name: _, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = config;
        reload(&self.retry, retry, RetryHandle::reload)?;
        reload(&self.circuit_breaker, circuit_breaker, CircuitBreakerHandle::reload)?;
        reload(&self.bulkhead, bulkhead, BulkheadHandle::reload)?;
        reload(&self.timeout, timeout, TimeoutHandle::reload)?;
        reload(&self.propagate_deadline, propagate_deadline, PropagateDeadlineHandle::reload)
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &StandardConfig) -> Result<(), ConfigError> {
        self.check_parts(config).map_err(|(_, error)| error)
    }

    /// The same, with the part that refuses its settings. `""` for settings of several parts.
    pub(crate) fn check_parts(&self, config: &StandardConfig) -> Result<(), (&'static str, ConfigError)> {
        let StandardConfig { name: _, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = config;
        check("retry", &self.retry, retry, RetryHandle::check)?;
        check("circuit_breaker", &self.circuit_breaker, circuit_breaker, CircuitBreakerHandle::check)?;
        check("bulkhead", &self.bulkhead, bulkhead, BulkheadHandle::check)?;
        check("timeout", &self.timeout, timeout, TimeoutHandle::check)?;
        let propagate = &self.propagate_deadline;
        check("propagate_deadline", propagate, propagate_deadline, PropagateDeadlineHandle::check)?;
        config.check().map_err(|error| ("", error))
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
        let Self { retry, circuit_breaker, bulkhead, last_known_good, .. } = self;
        let parts: [Option<&dyn Inspect>; 4] = [
            last_known_good.as_deref(),
            retry.as_ref().map(|part| part as _),
            circuit_breaker.as_ref().map(|part| part as _),
            bulkhead.as_ref().map(|part| part as _),
        ];
        parts.into_iter().flatten()
    }
}

fn check<H, C>(
    part: &'static str,
    handle: &Option<H>,
    config: &Option<C>,
    check: impl FnOnce(&H, &C) -> Result<(), ConfigError>,
) -> Result<(), (&'static str, ConfigError)> {
    let refused = |value: &'static str, allowed: &'static str| Err((part, ConfigError::new("part", value, allowed)));
    match (handle, config) {
        (Some(handle), Some(config)) => check(handle, config).map_err(|error| (part, error)),
        (None, None) => Ok(()),
        (Some(_), None) => refused("left out", "present, as the stack was built: a reload can't remove it"),
        (None, Some(_)) => refused("present", "left out, as the stack was built: a reload can't add it"),
    }
}

fn reload<H, C>(
    handle: &Option<H>,
    config: Option<C>,
    reload: impl FnOnce(&H, C) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    handle.as_ref().zip(config).map_or(Ok(()), |(handle, config)| reload(handle, config))
}

impl fmt::Debug for StandardHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good: _ } = self;
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
