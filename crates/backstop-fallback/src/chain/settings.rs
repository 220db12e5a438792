//! A chain's settings, which its handle reloads while requests run.

use std::{
    borrow::Cow,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use backstop_core::{ConfigError, Deadline, Limit, Name, SetBy, scope};
use backstop_kit::{KeepReplaced, Loaded, Reloadable, Snapshot};
use tokio::time::Instant;

use super::fallback_config::{FallbackConfig, ProviderConfig};
use crate::{drill::check_every, share};

/// More than 0 s.
const MOMENT: Duration = Duration::from_nanos(1);
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// What a reload replaces. A request has the same settings for its whole life.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) total: Duration,
    /// The share of the total of a primary in front of the chain, if nothing else limits the request.
    pub(crate) primary_share: Limit,
    /// `None`: what the primary's layer was built with.
    primary_timeout: Option<Duration>,
    /// `None`: what the drill was built with.
    pub(crate) drill_every: Option<Duration>,
    /// Those of each provider, in the chain's order.
    providers: Vec<ProviderConfig>,
}

impl Settings {
    pub(crate) fn new(total: Duration, providers: Vec<ProviderConfig>) -> Self {
        let primary_share = share::first_limit(Limit::new(total, SetBy::Us), providers.len() as u32 + 1);
        Self { total, primary_share, primary_timeout: None, drill_every: None, providers }
    }

    /// The deadline of a request that began at `started`: the total, or the scope's deadline if that is earlier.
    pub(crate) fn limit(&self, started: Instant) -> Deadline {
        Deadline::at(started + self.total, SetBy::Us).narrowed_by(scope::deadline())
    }

    /// The timeout of a primary whose layer was built with `built`.
    #[inline]
    pub(crate) fn primary_timeout(&self, built: Option<Duration>) -> Option<Duration> {
        self.primary_timeout.or(built)
    }

    pub(crate) fn timeout_of(&self, provider: usize) -> Option<Duration> {
        self.providers.get(provider)?.timeout
    }

    pub(crate) fn concurrency_of(&self, provider: usize) -> Option<usize> {
        self.providers.get(provider)?.concurrency
    }

    /// These settings, changed by `config`. `names` are those of the providers.
    fn changed(&self, config: &FallbackConfig, names: &[Name]) -> Result<Self, ConfigError> {
        if let Some(unknown) = config.providers.keys().find(|key| names.iter().all(|name| name != key.as_str())) {
            let names: Vec<_> = names.iter().map(Name::as_str).collect();
            return Err(ConfigError::new("providers", unknown.clone(), names.join(", ")));
        }
        let provider = |(name, built): (&Name, &ProviderConfig)| match config.providers.get(name.as_str()) {
            Some(provider) => provider.or(built),
            None => built.clone(),
        };
        let providers = names.iter().zip(&self.providers).map(provider).collect();
        let FallbackConfig { primary_timeout, drill_every, .. } = *config;
        Ok(Self { primary_timeout, drill_every, ..Self::new(config.total.unwrap_or(self.total), providers) })
    }

    /// Refuses values that aren't allowed. `names` are those of the providers.
    fn check(&self, names: &[Name]) -> Result<(), ConfigError> {
        ConfigError::check_range("total", self.total, MOMENT..=LONGEST_TOTAL, "more than 0 s, up to 24 h")?;
        self.check_timeout("primary_timeout", self.primary_timeout)?;
        self.drill_every.map_or(Ok(()), |every| check_every("drill_every", every))?;
        for (name, provider) in names.iter().zip(&self.providers) {
            self.check_timeout(format!("providers.{name}.timeout"), provider.timeout)?;
            if let Some(limit) = provider.concurrency {
                ConfigError::check_range(format!("providers.{name}.concurrency"), limit, 1.., "1 or more")?;
            }
        }
        Ok(())
    }

    /// Refuses what a layer was built with if it doesn't fit into the total.
    fn check_layer(&self, layer: &LayerSettings) -> Result<(), ConfigError> {
        self.check_timeout("primary_timeout", self.primary_timeout(layer.primary_timeout))?;
        layer.keep.map_or(Ok(()), |keep| keep.check_within(self.total))
    }

    fn check_timeout(&self, field: impl Into<Cow<'static, str>>, timeout: Option<Duration>) -> Result<(), ConfigError> {
        let Some(timeout) = timeout else { return Ok(()) };
        let allowed = format!("more than 0 s, up to the chain's total, which is {:?}", self.total);
        ConfigError::check_range(field, timeout, MOMENT..=self.total, allowed).map(drop)
    }
}

/// The settings that a chain shares with its layers and handles.
#[derive(Debug)]
pub(crate) struct ReloadableSettings {
    current: Reloadable<Settings>,
    /// What the code says, which holds where a configuration says nothing.
    built: Settings,
    /// What the chain's living layers were built with. The lock also makes reloads run one after another.
    layers: Mutex<Vec<Weak<LayerSettings>>>,
}

/// What a layer was built with that must fit into the chain's total.
#[derive(Debug, Default)]
pub(crate) struct LayerSettings {
    pub(crate) primary_timeout: Option<Duration>,
    pub(crate) keep: Option<KeepReplaced>,
}

impl ReloadableSettings {
    /// Begins with `built`, as `config` changes it.
    pub(crate) fn new(
        built: Settings,
        config: Option<&FallbackConfig>,
        providers: &[Name],
    ) -> Result<Self, ConfigError> {
        built.check(providers)?;
        let first = config.map_or_else(|| Ok(built.clone()), |config| built.changed(config, providers))?;
        first.check(providers)?;
        Ok(Self { current: Reloadable::new(first), built, layers: Mutex::new(Vec::new()) })
    }

    /// The settings that a request begins with.
    #[inline]
    pub(crate) fn snapshot(&self) -> Snapshot<Settings> {
        self.current.snapshot()
    }

    /// The settings of a request that runs.
    #[inline]
    pub(crate) fn at<'a>(&'a self, snapshot: &'a Snapshot<Settings>) -> &'a Settings {
        self.current.at(snapshot)
    }

    pub(crate) fn load(&self) -> Loaded<'_, Settings> {
        self.current.load()
    }

    /// Checks the settings of a layer that is built over the chain. Later settings of the chain are checked against them for as
    /// long as the layer lives.
    pub(crate) fn add_layer(&self, layer: LayerSettings) -> Result<Arc<LayerSettings>, ConfigError> {
        let mut layers = self.lock();
        self.current.load().check_layer(&layer)?;
        let layer = Arc::new(layer);
        layers.retain(|layer| layer.strong_count() > 0);
        layers.push(Arc::downgrade(&layer));
        Ok(layer)
    }

    /// Whether [`reload`](Self::reload) would accept `config`.
    pub(crate) fn check(&self, config: &FallbackConfig, providers: &[Name]) -> Result<(), ConfigError> {
        self.changed(config, providers, &self.lock()).map(drop)
    }

    /// Changes the settings for requests that begin afterwards.
    pub(crate) fn reload(&self, config: &FallbackConfig, providers: &[Name]) -> Result<(), ConfigError> {
        let layers = self.lock();
        self.current.replace(self.changed(config, providers, &layers)?);
        Ok(())
    }

    fn changed(
        &self,
        config: &FallbackConfig,
        providers: &[Name],
        layers: &[Weak<LayerSettings>],
    ) -> Result<Settings, ConfigError> {
        let settings = self.built.changed(config, providers)?;
        settings.check(providers)?;
        let total = settings.total;
        let too_short = |error: ConfigError| {
            let allowed = format!("enough for a layer of the chain, whose {} is {}", error.field, error.value);
            ConfigError::new("total", format!("{total:?}"), allowed)
        };
        let mut living = layers.iter().filter_map(Weak::upgrade);
        living.try_for_each(|layer| settings.check_layer(&layer)).map_err(too_short)?;
        Ok(settings)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Weak<LayerSettings>>> {
        self.layers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses a configuration of another chain.
pub(crate) fn check_name(config: &FallbackConfig, chain: &Name) -> Result<(), ConfigError> {
    if config.name == chain.as_str() {
        return Ok(());
    }
    Err(ConfigError::new("name", config.name.clone(), format!("the chain's own, {chain}")))
}
