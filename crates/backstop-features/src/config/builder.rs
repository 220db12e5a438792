//! The builder.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Level, Name};
use backstop_health::{Health, Reporter};

use super::{FeatureConfig, FeaturesConfig};
use crate::{
    CountStore, Features, FlagStore,
    erased_store::{ErasedCounts, ErasedFlags},
    registry::{Registry, Setup},
    sources::Sources,
};

/// Builds [`Features`]: see [`Features::builder`].
#[derive(Default)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FeaturesBuilder {
    config: FeaturesConfig,
    flags: Option<Arc<dyn ErasedFlags>>,
    counts: Option<Arc<dyn ErasedCounts>>,
    sources: Sources,
    health: Option<Health>,
}

impl FeaturesBuilder {
    /// Declares a feature. Each feature is declared once; at most 10,000.
    pub fn declare(mut self, feature: FeatureConfig) -> Self {
        self.config.features.push(feature);
        self
    }

    /// Where operators' flags are kept, for all instances. Unless set, a flag is set on this instance alone, and gone when the
    /// process ends.
    pub fn flags(mut self, store: impl FlagStore) -> Self {
        self.flags = Some(Arc::new(store));
        self
    }

    /// Where the errors of all instances are added up. Unless set, each instance degrades a feature by its own errors alone.
    pub fn counts(mut self, store: impl CountStore) -> Self {
        self.counts = Some(Arc::new(store));
        self
    }

    /// The health of the service: its level sheds features by their tiers, and its components are what features
    /// [need](FeatureConfig::needs). Unless set, all is healthy.
    ///
    /// Where there is a store of [`flags`](Self::flags), the service is starting until they were read once, or until
    /// [`start_within`](backstop_health::HealthBuilder::start_within) has passed.
    ///
    /// ```
    /// use backstop_features::{Feature, Features, feature};
    /// use backstop_health::{Component, Health};
    ///
    /// static REVIEWS: Feature = feature!("reviews");
    ///
    /// let health = Health::builder().component(Component::optional("reviews_api")).build()?;
    /// let features = Features::builder()
    ///     .declare(REVIEWS.standard().needs("reviews_api"))
    ///     .health(&health)
    ///     .build()?;
    /// # Ok::<(), backstop_features::ConfigError>(())
    /// ```
    pub fn health(mut self, health: &Health) -> Self {
        self.sources = Sources::of_health(health);
        self.health = Some(health.clone());
        self
    }

    /// The component of [`health`](Self::health) that shows whether the stores work: an optional one, since it must not move the
    /// level. Unless set, failures are only logged.
    pub fn store_component(mut self, component: impl Into<Cow<'static, str>>) -> Self {
        self.config.store_component = Some(component.into());
        self
    }

    /// The level of the service, where it isn't that of a [`Health`](Self::health), which sheds features by their tiers. Unless
    /// set, it is healthy.
    ///
    /// Asked twice a second, by [`run`](Features::run).
    pub fn level(mut self, level: impl Fn() -> Level + Send + Sync + 'static) -> Self {
        self.sources.set_level(level);
        self
    }

    /// The states of the components that features [need](FeatureConfig::needs), where they aren't those of a
    /// [`Health`](Self::health): `None` while one is unknown.
    ///
    /// Each component is asked for twice a second, by [`run`](Features::run).
    pub fn components(mut self, state: impl Fn(&Name) -> Option<Level> + Send + Sync + 'static) -> Self {
        self.sources.set_components(state);
        self
    }

    /// How this instance calls itself in the counts: 1 to 64 bytes of printable ASCII. Random unless set.
    ///
    /// Two instances must not have the same name: their errors would count as those of one. The name must survive a restart: with
    /// a random one, an instance that fails, restarts and fails again counts as two, and may degrade the feature for all. In
    /// a pod or container with one process, the environment variable `HOSTNAME` has such a name.
    pub fn instance(mut self, instance: impl Into<Cow<'static, str>>) -> Self {
        self.config.instance = Some(instance.into());
        self
    }

    /// How long a call of a store may take: 10 ms to 10 s, 1 s unless set. No request waits for one.
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// How often the store of [`flags`](Self::flags) is asked whether one has changed: every 100 ms to 60 s, ± 20 %, 1 s unless
    /// set.
    ///
    /// An operator's flag takes up to 1.2 times as long to reach all instances. [Counts](Self::counts) are reported every
    /// second in any case.
    pub const fn poll_interval(mut self, interval: Duration) -> Self {
        self.config.poll_interval = interval;
        self
    }

    /// Replaces all settings and all declared features by those of `config`. Health, sources and stores stay.
    pub fn with_config(mut self, config: FeaturesConfig) -> Self {
        self.config = config;
        self
    }

    /// The settings and the declared features so far.
    #[must_use]
    pub const fn config(&self) -> &FeaturesConfig {
        &self.config
    }

    /// The features.
    ///
    /// # Errors
    /// [`ConfigError`] if a value is out of range, a feature is declared twice, a feature needs a component that doesn't exist, or
    /// the [`store_component`](Self::store_component) isn't an optional component.
    pub fn build(self) -> Result<Features, ConfigError> {
        let Self { config, flags, counts, sources, health } = self;
        let settings = config.check()?;
        let reporter = |name: &Cow<'static, str>| store_reporter(health.as_ref(), name);
        let store_reporter = settings.fixed.store_component.as_ref().map(reporter).transpose()?;
        let start_hold = health.filter(|_| flags.is_some()).map(|health| health.hold_start());
        Registry::build(settings, Setup { flags, counts, sources, store_reporter }, start_hold).map(Features::new)
    }
}

fn store_reporter(health: Option<&Health>, name: &str) -> Result<Reporter, ConfigError> {
    let is_optional = |health: &&Health| health.component(name).is_some_and(|component| !component.is_essential());
    match health.filter(is_optional) {
        Some(health) => health.reporter(name, "features"),
        None => Err(ConfigError::new("store_component", name.to_owned(), "an optional component of `health`")),
    }
}

impl fmt::Debug for FeaturesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeaturesBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
