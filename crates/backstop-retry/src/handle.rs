//! The handle.

use std::{fmt, sync::Arc};

use backstop_core::{ConfigError, Name};
use backstop_kit::StackOf;

use crate::{RetryBudget, RetryConfig, layer_state::RetryState};

/// Shows and reloads the shared state of a layer: see [`RetryLayer::handle`](crate::RetryLayer::handle).
#[derive(Clone)]
pub struct RetryHandle {
    state: Arc<RetryState>,
    stack: StackOf<RetryConfig>,
}

impl RetryHandle {
    pub(crate) const fn new(state: Arc<RetryState>) -> Self {
        Self { state, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(RetryConfig);

    #[inline]
    pub(crate) const fn state(&self) -> &Arc<RetryState> {
        &self.state
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.state.live.name()
    }

    /// The layer's budget, its own or a shared one; `None` with [`no_budget`](crate::RetryBuilder::no_budget).
    #[must_use]
    pub fn budget(&self) -> Option<RetryBudget> {
        self.state.live.budget()
    }

    /// Changes the settings for requests that begin afterwards, without waiting for running ones.
    ///
    /// Running requests keep the settings that they began with, except those of the budget. A budget whose settings change
    /// keeps the retries that it has saved, up to its new burst, and [clones](Self::budget) share it as before.
    ///
    /// These can't change: `max_body`, `seed`, and whether the budget is shared. A closure that the layer was built with
    /// stays, unless `config` has one of its own: `backoff_fn` beside the default `backoff`, and `repeat_when`. The classifier
    /// and the other strategies aren't part of a [`RetryConfig`], and stay.
    ///
    /// ```
    /// use backstop_retry::{RetryConfig, RetryLayer, name};
    ///
    /// let retry = RetryLayer::new(name!("ml_service")).handle();
    /// let mut config = RetryConfig::new("ml_service");
    /// config.max_attempts = 2;
    /// retry.reload(config)?;
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`RetryBuilder::build`](crate::RetryBuilder::build), and if the name isn't the layer's, or something changes that
    /// can't. Nothing changes then.
    pub fn reload(&self, config: RetryConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| self.state.live.reload(config))
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &RetryConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| self.state.live.check(config.clone()).map(drop))
    }
}

impl fmt::Debug for RetryHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.debug(f.debug_struct("RetryHandle"))
    }
}
