//! The configuration and the builder.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::ConfigError;
use backstop_kit::Reloadable;

use super::{
    layer::StaleWhileRevalidateLayer,
    layer_state::{LayerState, Refresh},
};
use crate::{
    LastKnownGoodHandle, MokaStore,
    running::{Execute, RunningTasks},
};

const DEFAULT_REFRESH_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_REFRESH_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const DEFAULT_MAX_REFRESHES: usize = 100;
const MAX_REFRESHES: usize = 1_000_000;

/// The settings of refreshes as plain data, for [`StaleWhileRevalidateBuilder::with_config`] and
/// [`StaleWhileRevalidateHandle::reload`](crate::StaleWhileRevalidateHandle::reload).
///
/// With the feature `serde` it can be read from a file. A time is a text such as `"30s"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_last_known_good::StaleWhileRevalidateConfig;
///
/// let config: StaleWhileRevalidateConfig = toml::from_str(r#"
///     refresh_timeout = "30s"   # 1 ms to 1 h
///     max_refreshes = 100       # 1 to 1,000,000
/// "#)?;
/// assert_eq!(config, StaleWhileRevalidateConfig::default());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct StaleWhileRevalidateConfig {
    /// See [`StaleWhileRevalidateBuilder::refresh_timeout`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub refresh_timeout: Duration,
    /// See [`StaleWhileRevalidateBuilder::max_refreshes`].
    pub max_refreshes: usize,
}

impl Default for StaleWhileRevalidateConfig {
    fn default() -> Self {
        Self { refresh_timeout: DEFAULT_REFRESH_TIMEOUT, max_refreshes: DEFAULT_MAX_REFRESHES }
    }
}

impl StaleWhileRevalidateConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let range = SHORTEST_REFRESH_TIMEOUT..=LONGEST_REFRESH_TIMEOUT;
        ConfigError::check_range("refresh_timeout", self.refresh_timeout, range, "1 ms to 1 h")?;
        ConfigError::check_range("max_refreshes", self.max_refreshes, 1..=MAX_REFRESHES, "1 to 1000000").map(drop)
    }
}

impl<St> StaleWhileRevalidateLayer<St> {
    /// Serves stored answers of `known`, and runs refreshes by `execute`, which must spawn them and return at once. At most 100
    /// refreshes run at a time, each for at most 30 s.
    pub fn new(known: LastKnownGoodHandle<St>, execute: impl Fn(Refresh) + Send + Sync + 'static) -> Self {
        Self::builder(known, execute).layer()
    }

    /// Builds a layer with other settings.
    pub fn builder(
        known: LastKnownGoodHandle<St>,
        execute: impl Fn(Refresh) + Send + Sync + 'static,
    ) -> StaleWhileRevalidateBuilder<St> {
        StaleWhileRevalidateBuilder { known, execute: Arc::new(execute), config: StaleWhileRevalidateConfig::default() }
    }
}

/// Builds a [`StaleWhileRevalidateLayer`]: see [`StaleWhileRevalidateLayer::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct StaleWhileRevalidateBuilder<St = MokaStore> {
    known: LastKnownGoodHandle<St>,
    execute: Execute,
    config: StaleWhileRevalidateConfig,
}

impl<St> StaleWhileRevalidateBuilder<St> {
    /// The time limit of a refresh, including the body: 1 ms to 1 h. Default: 30 s.
    pub fn refresh_timeout(mut self, timeout: Duration) -> Self {
        self.config.refresh_timeout = timeout;
        self
    }

    /// The maximum number of concurrent refreshes: 1 to 1,000,000. Default: 100. At the maximum, stale answers are served without
    /// a refresh.
    pub fn max_refreshes(mut self, refreshes: usize) -> Self {
        self.config.max_refreshes = refreshes;
        self
    }

    /// All settings at once, which replace those that were set before.
    pub fn with_config(mut self, config: StaleWhileRevalidateConfig) -> Self {
        self.config = config;
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &StaleWhileRevalidateConfig {
        &self.config
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if a value is out of range.
    pub fn build(self) -> Result<StaleWhileRevalidateLayer<St>, ConfigError> {
        self.config.check()?;
        Ok(self.layer())
    }

    fn layer(self) -> StaleWhileRevalidateLayer<St> {
        let Self { known, execute, config } = self;
        let (settings, refreshes) = (Arc::new(Reloadable::new(config)), RunningTasks::default());
        StaleWhileRevalidateLayer::with(LayerState { known, execute, settings, refreshes })
    }
}

impl<St> fmt::Debug for StaleWhileRevalidateBuilder<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleWhileRevalidateBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
