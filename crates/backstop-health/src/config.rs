//! The configuration and the builder.

use std::{ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{Component, Health};

const NONE: Duration = Duration::ZERO;
const HOUR: Duration = Duration::from_secs(60 * 60);
/// More than a service has, and few enough to look at in one go.
const MOST_COMPONENTS: usize = 1_000;

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
        }
    }
}

impl HealthConfig {
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let in_range = |field, time, range: RangeInclusive<Duration>, allowed| {
            ConfigError::check_range(field, time, range, allowed).map(drop)
        };
        in_range("degrade_after", self.degrade_after, NONE..=HOUR, "0 to 1 h")?;
        in_range("critical_after", self.critical_after, self.degrade_after..=HOUR, "degrade_after to 1 h")?;
        in_range("recover_after", self.recover_after, NONE..=HOUR, "0 to 1 h")?;
        in_range("max_recover_after", self.max_recover_after, self.recover_after..=HOUR, "recover_after to 1 h")?;
        in_range("calm_after", self.calm_after, NONE..=24 * HOUR, "0 to 24 h")?;
        in_range("start_within", self.start_within, NONE..=HOUR, "0 to 1 h")?;
        in_range("serve_while_draining", self.serve_while_draining, NONE..=HOUR, "0 to 1 h")?;
        in_range("finish_within", self.finish_within, NONE..=HOUR, "0 to 1 h")?;
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

    /// Replaces all settings, except the components.
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
    /// [`ConfigError`] if a setting isn't allowed, or if two components have one name.
    pub fn build(self) -> Result<Health, ConfigError> {
        let Self { config, components } = self;
        config.check()?;
        ConfigError::check_range("components", components.len(), ..=MOST_COMPONENTS, "at most 1000")?;
        let mut checked: Vec<(Name, Component)> = Vec::with_capacity(components.len());
        for component in components {
            let name = component.check()?;
            if checked.iter().any(|(other, _)| *other == name) {
                return Err(ConfigError::new("component", component.name, "each name once"));
            }
            checked.push((name, component));
        }
        Ok(Health::new(config, checked))
    }
}
