//! The configuration and the builder.

use std::{collections::BTreeMap, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{Component, Health, ProbeConfig, shared::NewComponent};

const HOUR: Duration = Duration::from_secs(60 * 60);
/// More than a service has, and few enough to go through one by one.
pub(crate) const MOST_COMPONENTS: usize = 1_000;

/// The settings of a [`Health`] as plain data, for [`HealthBuilder::with_config`] and [`Health::reload`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_health::HealthConfig;
///
/// let config: HealthConfig = toml::from_str(r#"
///     ## degrade_after = "2s"          # 0 to 1 h
///     ## critical_after = "10s"        # 0 to 1 h, and at least degrade_after
///     ## recover_after = "30s"         # 0 to 1 h
///     ## max_recover_after = "5m"      # recover_after to 1 h
///     ## calm_after = "10m"            # 0 to 24 h
///     ## start_within = "10s"          # 0 to 1 h
///     ## serve_while_draining = "10s"  # 0 to 1 h
///     ## finish_within = "15s"         # 0 to 1 h
///     ## exit_within = "28s"           # serve_while_draining + finish_within to 3 h
///
///     ## [components.database.probe]   # as declared
///     ## every = "5s"                  # 1 ms to 1 h
///     ## timeout = "2s"                # 1 ms to every
///     ## fall = 3                      # 1 to 1000
///     ## rise = 2                      # 1 to 1000
///
///     ## [components.importer]
///     ## heartbeat = "60s"             # 100 ms to 24 h, only where one is declared
///
///     ## [components.queue.backlog]    # only where one is declared
///     ## degraded_percent = 80         # 1 to 100
///     ## healthy_percent = 50          # 0 to degraded_percent - 1
/// "#)?;
/// assert_eq!(config, HealthConfig::default());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct HealthConfig {
    /// See [`HealthBuilder::degrade_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub degrade_after: Duration,
    /// See [`HealthBuilder::critical_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub critical_after: Duration,
    /// See [`HealthBuilder::recover_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub recover_after: Duration,
    /// See [`HealthBuilder::max_recover_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_recover_after: Duration,
    /// See [`HealthBuilder::calm_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub calm_after: Duration,
    /// See [`HealthBuilder::start_within`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub start_within: Duration,
    /// See [`HealthBuilder::serve_while_draining`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub serve_while_draining: Duration,
    /// See [`HealthBuilder::finish_within`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub finish_within: Duration,
    /// See [`HealthBuilder::exit_within`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub exit_within: Duration,
    /// Settings of components, by their names. They replace what was declared.
    #[cfg_attr(feature = "serde", serde(skip_serializing_if = "BTreeMap::is_empty"))]
    pub components: BTreeMap<String, ComponentConfig>,
}

/// The settings of a component, in [`HealthConfig::components`]. What is `None` is as it was [declared](Component).
///
/// What a component is, and whether it is essential, only code can say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct ComponentConfig {
    /// See [`Component::heartbeat`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub heartbeat: Option<Duration>,
    /// See [`Component::probe_config`].
    pub probe: Option<ProbeConfig>,
    /// See [`Component::backlog_config`].
    pub backlog: Option<BacklogConfig>,
}

/// How full a queue may be, for [`Component::backlog_config`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct BacklogConfig {
    /// From how many percent of its capacity on it is degraded: 1 to 100, 80 unless set.
    pub degraded_percent: u8,
    /// Up to how many percent of its capacity it is healthy again: 0 to `degraded_percent` - 1, 50 unless set.
    pub healthy_percent: u8,
}

impl Default for BacklogConfig {
    fn default() -> Self {
        Self { degraded_percent: 80, healthy_percent: 50 }
    }
}

impl BacklogConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let Self { degraded_percent, healthy_percent } = *self;
        ConfigError::check_range("degraded_percent", degraded_percent, 1..=100, "1 to 100")?;
        let allowed = "0 to degraded_percent - 1";
        ConfigError::check_range("healthy_percent", healthy_percent, ..degraded_percent, allowed).map(drop)
    }
}

/// The settings that a component goes by: what was declared, and what the configuration replaces.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ComponentSettings {
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) probe: ProbeConfig,
    pub(crate) backlog: BacklogConfig,
    has_backlog: bool,
}

impl ComponentSettings {
    pub(crate) fn declared(component: &Component) -> Self {
        let Component { heartbeat, probe, backlog, ref backlogs, .. } = *component;
        Self { heartbeat, probe, backlog, has_backlog: !backlogs.is_empty() }
    }

    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Some(timeout) = self.heartbeat {
            let range = Duration::from_millis(100)..=24 * HOUR;
            ConfigError::check_range("heartbeat", timeout, range, "100 ms to 24 h")?;
        }
        self.probe.check().map_err(|error| error.inside("probe"))?;
        self.backlog.check().map_err(|error| error.inside("backlog"))
    }

    /// With what `config` replaces.
    fn with(&self, config: &ComponentConfig) -> Result<Self, ConfigError> {
        let mut settings = *self;
        if let Some(timeout) = config.heartbeat {
            let heartbeat = settings.heartbeat.as_mut();
            let allowed = "only of a component that is declared with a heartbeat";
            *heartbeat.ok_or_else(|| ConfigError::new("heartbeat", format!("{timeout:?}"), allowed))? = timeout;
        }
        if let Some(probe) = config.probe {
            settings.probe = probe;
        }
        if let Some(backlog) = config.backlog {
            if !self.has_backlog {
                let allowed = "only of a component that is declared with a backlog";
                return Err(ConfigError::new("backlog", format!("{backlog:?}"), allowed));
            }
            settings.backlog = backlog;
        }
        settings.check().map(|()| settings)
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        let secs = Duration::from_secs;
        Self {
            degrade_after: secs(2),
            critical_after: secs(10),
            recover_after: secs(30),
            max_recover_after: secs(300),
            calm_after: secs(600),
            start_within: secs(10),
            serve_while_draining: secs(10),
            finish_within: secs(15),
            // Two seconds less than the 30 s after which Kubernetes kills a pod.
            exit_within: secs(28),
            components: BTreeMap::new(),
        }
    }
}

impl HealthConfig {
    /// Checks all settings. Returns those of each of the components that were `declared`, in their order.
    pub(crate) fn check<'a>(
        &self,
        declared: impl Iterator<Item = (&'a Name, &'a ComponentSettings)> + Clone,
    ) -> Result<Vec<ComponentSettings>, ConfigError> {
        self.check_times()?;
        if let Some(unknown) =
            self.components.keys().find(|name| !declared.clone().any(|(known, _)| known.as_str() == name.as_str()))
        {
            return Err(ConfigError::new("components", unknown.clone(), "the names of components that were declared"));
        }
        let settings = declared.map(|(name, declared)| match self.components.get(name.as_str()) {
            None => Ok(*declared),
            Some(config) => declared.with(config).map_err(|error| error.inside(name.as_str()).inside("components")),
        });
        settings.collect()
    }

    fn check_times(&self) -> Result<(), ConfigError> {
        let in_range = |field, time, range: RangeInclusive<Duration>, allowed| {
            ConfigError::check_range(field, time, range, allowed).map(drop)
        };
        in_range("degrade_after", self.degrade_after, Duration::ZERO..=HOUR, "0 to 1 h")?;
        in_range("critical_after", self.critical_after, self.degrade_after..=HOUR, "degrade_after to 1 h")?;
        in_range("recover_after", self.recover_after, Duration::ZERO..=HOUR, "0 to 1 h")?;
        in_range("max_recover_after", self.max_recover_after, self.recover_after..=HOUR, "recover_after to 1 h")?;
        in_range("calm_after", self.calm_after, Duration::ZERO..=24 * HOUR, "0 to 24 h")?;
        in_range("start_within", self.start_within, Duration::ZERO..=HOUR, "0 to 1 h")?;
        in_range("serve_while_draining", self.serve_while_draining, Duration::ZERO..=HOUR, "0 to 1 h")?;
        in_range("finish_within", self.finish_within, Duration::ZERO..=HOUR, "0 to 1 h")?;
        let least = self.serve_while_draining + self.finish_within;
        in_range("exit_within", self.exit_within, least..=3 * HOUR, "serve_while_draining + finish_within to 3 h")
    }
}

/// Builds a [`Health`]: see [`Health::builder`].
#[derive(Debug, Default)]
#[must_use]
pub struct HealthBuilder {
    config: HealthConfig,
    components: Vec<Component>,
}

impl HealthBuilder {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a component: at most 1,000, each with a name of its own.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// Adds several components.
    pub fn components(mut self, components: impl IntoIterator<Item = Component>) -> Self {
        self.components.extend(components);
        self
    }

    /// For how long an essential component must be worse than healthy before the level is degraded: 0 to 1 h, 2 s unless set.
    pub const fn degrade_after(mut self, time: Duration) -> Self {
        self.config.degrade_after = time;
        self
    }

    /// For how long an essential component must be critical before the level is: [`degrade_after`](Self::degrade_after) to
    /// 1 h, 10 s unless set.
    pub const fn critical_after(mut self, time: Duration) -> Self {
        self.config.critical_after = time;
        self
    }

    /// For how long all essential components must be better than the level, without a break, before the level gets better by
    /// one step: 0 to 1 h, 30 s unless set.
    ///
    /// The time doubles at each relapse: if the level gets worse again within [`calm_after`](Self::calm_after) of getting
    /// better.
    pub const fn recover_after(mut self, time: Duration) -> Self {
        self.config.recover_after = time;
        self
    }

    /// The longest that `recover_after` grows by relapses: `recover_after` to 1 h, 300 s unless set.
    pub const fn max_recover_after(mut self, time: Duration) -> Self {
        self.config.max_recover_after = time;
        self
    }

    /// How long after it got better the level must not get worse, so that `recover_after` is as at first: 0 to 24 h, 10 min
    /// unless set.
    pub const fn calm_after(mut self, time: Duration) -> Self {
        self.config.calm_after = time;
        self
    }

    /// The longest that the service is [starting](crate::Readiness::Starting): 0 to 1 h, 10 s unless set.
    pub const fn start_within(mut self, time: Duration) -> Self {
        self.config.start_within = time;
        self
    }

    /// How long a draining service serves normally, so that balancers see that it isn't ready: 0 to 1 h, 10 s unless set.
    ///
    /// Set it to more than your balancer needs: the time between two of its checks, times the failures that it waits for.
    pub const fn serve_while_draining(mut self, time: Duration) -> Self {
        self.config.serve_while_draining = time;
        self
    }

    /// How long running requests may take once the listener is closed: 0 to 1 h, 15 s unless set.
    pub const fn finish_within(mut self, time: Duration) -> Self {
        self.config.finish_within = time;
        self
    }

    /// How long after the signal the process exits at the latest: the two times above to 3 h, 28 s unless set.
    ///
    /// Set it to less than the time after which your orchestrator kills the process, 30 s in Kubernetes.
    pub const fn exit_within(mut self, time: Duration) -> Self {
        self.config.exit_within = time;
        self
    }

    /// Replaces all settings. The declared components stay.
    pub fn with_config(mut self, config: HealthConfig) -> Self {
        self.config = config;
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &HealthConfig {
        &self.config
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`ConfigError`] if a setting isn't allowed, if two components have one name, or if the configuration names a component
    /// that isn't declared.
    pub fn build(self) -> Result<Health, ConfigError> {
        let Self { config, components } = self;
        ConfigError::check_range("components", components.len(), ..=MOST_COMPONENTS, "at most 1000")?;
        let mut checked: Vec<(Name, Component)> = Vec::with_capacity(components.len());
        for component in components {
            let name = component.check()?;
            if checked.iter().any(|(other, _)| *other == name) {
                return Err(ConfigError::new("component", component.name, "each name once"));
            }
            checked.push((name, component));
        }
        let declared: Vec<_> = checked.iter().map(|(_, component)| ComponentSettings::declared(component)).collect();
        let settings = config.check(checked.iter().map(|(name, _)| name).zip(&declared))?;
        let parts = checked.into_iter().zip(declared).zip(settings);
        let component =
            |(((name, component), declared), settings)| NewComponent { name, component, declared, settings };
        Ok(Health::new(config, parts.map(component)))
    }
}
