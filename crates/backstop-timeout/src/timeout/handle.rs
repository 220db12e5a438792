//! The handle.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::StackOf;

use super::{config::TimeoutConfig, live_limit::LiveLimit, upload::LimitStart};
use crate::settings::check_name;

/// Shows and reloads a timeout's limit, and calls functions within it: see
/// [`TimeoutLayer::handle`](crate::TimeoutLayer::handle).
#[derive(Clone, Debug)]
pub struct TimeoutHandle {
    name: Name,
    limit: Arc<LiveLimit>,
    stack: StackOf<TimeoutConfig>,
}

impl TimeoutHandle {
    pub(crate) const fn new(name: Name, limit: Arc<LiveLimit>) -> Self {
        Self { name, limit, stack: StackOf::none() }
    }

    backstop_kit::define_in_stack!(TimeoutConfig);

    /// The layer's name.
    #[must_use]
    pub const fn name(&self) -> &Name {
        &self.name
    }

    /// How long a call may take.
    #[must_use]
    #[inline]
    pub fn limit(&self) -> Duration {
        self.limit.limit()
    }

    /// Whether the limit starts at the end of a request's body: see
    /// [`TimeoutBuilder::after_upload`](crate::TimeoutBuilder::after_upload).
    #[must_use]
    pub fn is_after_upload(&self) -> bool {
        matches!(self.limit.get().1, LimitStart::AfterUpload)
    }

    /// Changes the settings for calls that begin afterwards. Running calls keep their limit.
    ///
    /// How the layer rejects and how much of a response it covers isn't part of a [`TimeoutConfig`], and stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_timeout::{TimeoutConfig, TimeoutLayer, name};
    ///
    /// let timeout = TimeoutLayer::new(name!("ml_service")).handle();
    /// let mut config = TimeoutConfig::new("ml_service");
    /// config.limit = Duration::from_millis(250);
    /// timeout.reload(config)?;
    /// assert_eq!(timeout.limit(), Duration::from_millis(250));
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`TimeoutBuilder::build`](crate::TimeoutBuilder::build), and if the name isn't the layer's. Nothing changes then.
    pub fn reload(&self, config: TimeoutConfig) -> Result<(), ConfigError> {
        self.stack.reload(config, |config| {
            let (name, limit, limit_start) = config.check()?;
            check_name(&name, &self.name)?;
            self.limit.set(limit, limit_start);
            Ok(())
        })
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &TimeoutConfig) -> Result<(), ConfigError> {
        self.stack.check(config, |config| check_name(&config.clone().check()?.0, &self.name))
    }
}
