//! The handle.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::StackOf;

use crate::{BulkheadConfig, config::check_max_concurrent, limiter::Limiter};

/// Shows, resizes and reloads a bulkhead: see [`BulkheadLayer::handle`](crate::BulkheadLayer::handle).
///
/// All clones, and all services of the layer, share the bulkhead.
#[derive(Clone, Debug)]
pub struct BulkheadHandle {
    limiter: Arc<Limiter>,
    stack: StackOf<BulkheadConfig>,
}

impl BulkheadHandle {
    pub(crate) const fn new(limiter: Arc<Limiter>) -> Self {
        Self { limiter, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(BulkheadConfig);

    #[inline]
    pub(crate) const fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.limiter.name()
    }

    /// The permits in use: by running calls, and by response bodies that haven't ended.
    ///
    /// May exceed [`max_concurrent`](Self::max_concurrent) for a while after that was lowered.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.limiter.in_use() as usize
    }

    /// How many calls wait for a permit.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.limiter.permits().waiting()
    }

    /// How many calls may run at once.
    #[must_use]
    pub fn max_concurrent(&self) -> u32 {
        self.limiter.permits().limit()
    }

    /// How many calls may wait.
    #[must_use]
    pub fn max_waiting(&self) -> u32 {
        self.limiter.permits().max_waiting()
    }

    /// How long a call may wait.
    #[must_use]
    pub fn max_wait(&self) -> Duration {
        self.limiter.max_wait()
    }

    /// How long a response body may hold its call's permit.
    #[must_use]
    pub fn max_hold(&self) -> Duration {
        self.limiter.max_hold()
    }

    /// Sets how many calls may run at once: 1 to 1,000,000.
    ///
    /// If the limit grows, waiting calls get permits, in order. If it shrinks, running calls go on, and no further call is
    /// admitted until fewer than the new limit are running.
    ///
    /// ```
    /// use backstop_bulkhead::{BulkheadLayer, name};
    ///
    /// let bulkhead = BulkheadLayer::new(name!("ml_service")).handle();
    /// bulkhead.set_max_concurrent(10)?;
    /// assert_eq!(bulkhead.max_concurrent(), 10);
    /// # Ok::<(), backstop_bulkhead::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// [`ConfigError`] with the field `max_concurrent` if it isn't 1 to 1,000,000. Nothing changes then.
    pub fn set_max_concurrent(&self, calls: u32) -> Result<(), ConfigError> {
        self.limiter.set_max_concurrent(check_max_concurrent(calls)?);
        Ok(())
    }

    /// Changes the settings while calls run. No call waits for it.
    ///
    /// | setting | takes effect |
    /// |---|---|
    /// | `max_concurrent` | at once, as by [`set_max_concurrent`](Self::set_max_concurrent) |
    /// | `max_waiting` | for calls that come afterwards. Calls that wait go on waiting, in order |
    /// | `max_wait` | for calls that begin to wait afterwards |
    /// | `max_hold` | for responses whose head comes afterwards |
    ///
    /// A setting that `config` leaves out gets its default. How it rejects, and until when permits are held, isn't part of
    /// a [`BulkheadConfig`], and stays.
    ///
    /// ```
    /// use backstop_bulkhead::{BulkheadConfig, BulkheadLayer, name};
    ///
    /// let bulkhead = BulkheadLayer::new(name!("ml_service")).handle();
    /// let mut config = BulkheadConfig::new("ml_service");
    /// config.max_concurrent = 20;
    /// config.max_waiting = Some(5);
    /// bulkhead.reload(config)?;
    /// assert_eq!((bulkhead.max_concurrent(), bulkhead.max_waiting()), (20, 5));
    /// # Ok::<(), backstop_bulkhead::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`BulkheadBuilder::build`](crate::BulkheadBuilder::build), and if the name isn't the layer's. Nothing changes
    /// then.
    pub fn reload(&self, config: BulkheadConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| {
            self.limiter.reload(&self.limiter.check(config)?);
            Ok(())
        })
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &BulkheadConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| self.limiter.check(config.clone()).map(drop))
    }
}
