//! The handle.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name, Reason};

use crate::{AggregateConfig, aggregate::Shared};

/// Shows an aggregate's state, and reloads it: see [`Aggregate::handle`](crate::Aggregate::handle).
#[derive(Clone)]
pub struct AggregateHandle(Arc<Shared>);

/// A part that fails: see [`AggregateHandle::failing`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailingPart {
    /// The part.
    pub part: Name,
    /// How long ago its [episode](crate#in-logs) began.
    pub duration: Duration,
    /// How long ago it last failed.
    pub last_failure: Duration,
    /// Why it failed then.
    pub last_reason: Reason,
    /// How often it has been gathered since the episode began.
    pub pages: u64,
    /// How often it has failed since then.
    pub failures: u64,
}

impl AggregateHandle {
    pub(crate) const fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }

    /// The aggregate's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.0.name
    }

    /// The time of all parts together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.0.settings.load().total
    }

    /// The most parts that run at once; `None` if all do.
    #[must_use]
    pub fn max_concurrent(&self) -> Option<usize> {
        Some(self.0.settings.load().max_concurrent).filter(|parts| *parts < usize::MAX)
    }

    /// The parts in an [episode](crate#in-logs) of failures, in the order in which they were first gathered.
    #[must_use]
    pub fn failing(&self) -> Vec<FailingPart> {
        let failing = |(part, current): (&Name, backstop_kit::episode::Current)| FailingPart {
            part: part.clone(),
            duration: current.summary.duration,
            last_failure: current.last_degraded,
            last_reason: current.last_reason,
            pages: current.summary.calls,
            failures: current.summary.degraded + current.summary.exhausted,
        };
        self.0.stats.episodes().map(failing).collect()
    }

    /// Changes the settings for pages that begin afterwards.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_partial::{Aggregate, AggregateConfig, name};
    ///
    /// let dashboard = Aggregate::new(name!("dashboard")).handle();
    /// let mut config = AggregateConfig::new("dashboard");
    /// config.total = Duration::from_secs(3);
    /// dashboard.reload(config)?;
    /// assert_eq!(dashboard.total(), Duration::from_secs(3));
    /// # Ok::<(), backstop_partial::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`AggregateBuilder::build`](crate::AggregateBuilder::build), and if the name isn't the aggregate's. Nothing changes
    /// then.
    pub fn reload(&self, config: AggregateConfig) -> Result<(), ConfigError> {
        let (name, settings) = config.check()?;
        self.check_name(&name)?;
        self.0.settings.replace(settings);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &AggregateConfig) -> Result<(), ConfigError> {
        self.check_name(&config.clone().check()?.0)
    }

    fn check_name(&self, name: &Name) -> Result<(), ConfigError> {
        if name == self.name() {
            return Ok(());
        }
        Err(ConfigError::new("name", name.to_string(), format!("the aggregate's own, {}", self.name())))
    }
}

impl fmt::Debug for AggregateHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AggregateHandle").field("name", self.name()).finish_non_exhaustive()
    }
}
