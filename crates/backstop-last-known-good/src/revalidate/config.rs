//! The builder.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::ConfigError;

use super::{
    layer::StaleWhileRevalidateLayer,
    layer_state::{Execute, LayerState, Refresh},
    refreshes::RunningRefreshes,
};
use crate::{LastKnownGoodHandle, MokaStore};

const DEFAULT_REFRESH_TIMEOUT: Duration = Duration::from_secs(30);
const SHORTEST_REFRESH_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_REFRESH_TIMEOUT: Duration = Duration::from_secs(60 * 60);
const DEFAULT_MAX_REFRESHES: usize = 100;
const MAX_REFRESHES: usize = 1_000_000;

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
        StaleWhileRevalidateBuilder {
            known,
            execute: Arc::new(execute),
            refresh_timeout: DEFAULT_REFRESH_TIMEOUT,
            max_refreshes: DEFAULT_MAX_REFRESHES,
        }
    }
}

/// Builds a [`StaleWhileRevalidateLayer`]: see [`StaleWhileRevalidateLayer::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct StaleWhileRevalidateBuilder<St = MokaStore> {
    known: LastKnownGoodHandle<St>,
    execute: Execute,
    refresh_timeout: Duration,
    max_refreshes: usize,
}

impl<St> StaleWhileRevalidateBuilder<St> {
    /// The time limit of a refresh, including the body: 1 ms to 1 h. Default: 30 s.
    pub fn refresh_timeout(mut self, timeout: Duration) -> Self {
        self.refresh_timeout = timeout;
        self
    }

    /// The maximum number of concurrent refreshes: 1 to 1,000,000. Default: 100. At the maximum, stale answers are served without
    /// a refresh.
    pub fn max_refreshes(mut self, refreshes: usize) -> Self {
        self.max_refreshes = refreshes;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if a value is out of range.
    pub fn build(self) -> Result<StaleWhileRevalidateLayer<St>, ConfigError> {
        ConfigError::check_range(
            "refresh_timeout",
            self.refresh_timeout,
            SHORTEST_REFRESH_TIMEOUT..=LONGEST_REFRESH_TIMEOUT,
            "1 ms to 1 h",
        )?;
        ConfigError::check_range("max_refreshes", self.max_refreshes, 1..=MAX_REFRESHES, "1 to 1000000")?;
        Ok(self.layer())
    }

    fn layer(self) -> StaleWhileRevalidateLayer<St> {
        let Self { known, execute, refresh_timeout, max_refreshes } = self;
        let refreshes = RunningRefreshes::new(max_refreshes);
        StaleWhileRevalidateLayer::with(LayerState { known, execute, refreshes, refresh_timeout })
    }
}

impl<St> fmt::Debug for StaleWhileRevalidateBuilder<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaleWhileRevalidateBuilder")
            .field("refresh_timeout", &self.refresh_timeout)
            .field("max_refreshes", &self.max_refreshes)
            .finish_non_exhaustive()
    }
}
