//! The handle.

use std::{sync::Arc, time::Duration};

use backstop_core::{ConfigError, Inspect, Name, Value};
use backstop_kit::Reloadable;

use super::config::StaleWhileRevalidateConfig;

/// Shows and reloads how stored answers are refreshed: see
/// [`StaleWhileRevalidateLayer::handle`](crate::StaleWhileRevalidateLayer::handle).
#[derive(Clone, Debug)]
pub struct StaleWhileRevalidateHandle {
    name: Name,
    settings: Arc<Reloadable<StaleWhileRevalidateConfig>>,
}

impl StaleWhileRevalidateHandle {
    pub(super) const fn new(name: Name, settings: Arc<Reloadable<StaleWhileRevalidateConfig>>) -> Self {
        Self { name, settings }
    }

    /// The time limit of a refresh.
    #[must_use]
    pub fn refresh_timeout(&self) -> Duration {
        self.settings.load().refresh_timeout
    }

    /// How many refreshes may run at a time.
    #[must_use]
    pub fn max_refreshes(&self) -> usize {
        self.settings.load().max_refreshes
    }

    /// Changes the settings for refreshes that begin afterwards. Running ones keep their time limit, and count towards the
    /// new maximum.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_last_known_good::{
    ///     LastKnownGoodLayer, StaleWhileRevalidateConfig, StaleWhileRevalidateLayer, name,
    /// };
    ///
    /// let known = LastKnownGoodLayer::new(name!("prices"));
    /// let refreshing = StaleWhileRevalidateLayer::new(known.handle(), |refresh| drop(tokio::spawn(refresh)));
    /// let mut config = StaleWhileRevalidateConfig::default();
    /// config.refresh_timeout = Duration::from_secs(5);
    /// refreshing.handle().reload(config)?;
    /// assert_eq!(refreshing.handle().refresh_timeout(), Duration::from_secs(5));
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`StaleWhileRevalidateBuilder::build`](crate::StaleWhileRevalidateBuilder::build). Nothing changes then.
    pub fn reload(&self, config: StaleWhileRevalidateConfig) -> Result<(), ConfigError> {
        self.check(&config)?;
        self.settings.replace(config);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &StaleWhileRevalidateConfig) -> Result<(), ConfigError> {
        config.check()
    }
}

impl Inspect for StaleWhileRevalidateHandle {
    /// The name of the layer whose answers are refreshed.
    fn name(&self) -> &Name {
        &self.name
    }

    fn kind(&self) -> &'static str {
        "stale-while-revalidate"
    }

    fn settings(&self) -> Vec<(&'static str, Value)> {
        vec![("refresh_timeout", self.refresh_timeout().into()), ("max_refreshes", self.max_refreshes().into())]
    }
}
