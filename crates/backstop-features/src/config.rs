//! The configuration: what features there are, how each behaves, and how the stores are used.

use std::{borrow::Cow, time::Duration};

use backstop_core::{ConfigError, Name};

use crate::{
    Tier,
    auto_degrade::{Rules, nanos},
};

mod builder;
#[cfg(feature = "serde")]
mod file;

pub use builder::FeaturesBuilder;

const DEFAULT_MIN_ERRORS: u64 = 5;
const DEFAULT_SHARE: f64 = 0.05;
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_TIME: Duration = Duration::from_secs(300);
const DEFAULT_MAX_TIME: Duration = Duration::from_secs(3_600);
const DEFAULT_STORE_TIMEOUT: Duration = Duration::from_secs(1);
const DEFAULT_POLL_INTERVAL: Duration = Duration::from_secs(1);
/// All instances report once a second.
const SETTLE: Duration = Duration::from_secs(2);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A feature is found by its index in a table of this size.
const MOST_FEATURES: usize = 10_000;

/// The features of a service as plain data, for [`Features::from_config`](crate::Features::from_config),
/// [`FeaturesBuilder::with_config`] and [`FeaturesHandle::reload`](crate::FeaturesHandle::reload).
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error. Health, stores and closures can't be written to a file:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_features::{DegradeOnErrors, FeaturesConfig, Feature, feature};
///
/// let config: FeaturesConfig = toml::from_str(r#"
///     ## instance = "web-1"              # 1 to 64 bytes of printable ASCII; random
///     ## store_component = "redis"       # an optional component of the service's health
///     store_timeout = "1s"              # 10 ms to 10 s
///     poll_interval = "1s"              # 100 ms to 60 s
///
///     [[features]]
///     name = "checkout"
///     tier = "core"                     # or standard, nice_to_have
///
///     [[features]]
///     name = "reviews"
///     tier = "nice_to_have"
///     needs = ["reviews_api"]           # components of the service's health
///     off_unless_known = false
///
///     [features.errors]                 # or: errors = "ignore", as for the tier core
///     min_errors = 5                    # 1 to 1,000,000
///     share = 0.05                      # 0.000001 to 1
///     window = "60s"                    # 1 s to 24 h
///     time = "5m"                       # 1 s to 24 h
///     max_time = "1h"                   # time to 24 h
/// "#)?;
///
/// static CHECKOUT: Feature = feature!("checkout");
/// static REVIEWS: Feature = feature!("reviews");
/// let mut expected = FeaturesConfig::default();
/// expected.features.push(CHECKOUT.core());
/// expected.features.push(REVIEWS.nice_to_have().needs("reviews_api").degrade_on_errors(DegradeOnErrors::new()));
/// assert_eq!(config, expected);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct FeaturesConfig {
    /// See [`FeaturesBuilder::instance`].
    pub instance: Option<Cow<'static, str>>,
    /// See [`FeaturesBuilder::store_component`].
    pub store_component: Option<Cow<'static, str>>,
    /// See [`FeaturesBuilder::store_timeout`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub store_timeout: Duration,
    /// See [`FeaturesBuilder::poll_interval`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub poll_interval: Duration,
    /// See [`FeaturesBuilder::declare`].
    pub features: Vec<FeatureConfig>,
}

impl Default for FeaturesConfig {
    fn default() -> Self {
        Self {
            instance: None,
            store_component: None,
            store_timeout: DEFAULT_STORE_TIMEOUT,
            poll_interval: DEFAULT_POLL_INTERVAL,
            features: Vec::new(),
        }
    }
}

/// How a feature behaves, as plain data: made by [`Feature::core`](crate::Feature::core),
/// [`standard`](crate::Feature::standard) or [`nice_to_have`](crate::Feature::nice_to_have), or read from a file as a part of a
/// [`FeaturesConfig`].
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[must_use = "a feature doesn't exist until it is given to the builder"]
#[non_exhaustive]
pub struct FeatureConfig {
    /// The feature's [name](Name).
    pub name: Cow<'static, str>,
    /// How long it stays on while the service gets worse.
    pub tier: Tier,
    /// See [`needs`](Self::needs).
    #[cfg_attr(feature = "serde", serde(default))]
    pub needs: Vec<Cow<'static, str>>,
    /// See [`off_unless_known`](Self::off_unless_known).
    #[cfg_attr(feature = "serde", serde(default))]
    pub off_unless_known: bool,
    /// See [`degrade_on_errors`](Self::degrade_on_errors) and [`ignore_errors`](Self::ignore_errors). If `None`: errors are
    /// ignored in the tier [`Core`](Tier::Core), and degrade the feature by the default rules in the others.
    #[cfg_attr(feature = "serde", serde(default))]
    pub errors: Option<OnErrors>,
}

/// What the errors of a feature do. In a file, the rules, or `"ignore"`.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnErrors {
    /// They degrade the feature by these rules.
    Degrade(DegradeOnErrors),
    /// Nothing.
    Ignore,
}

impl FeatureConfig {
    /// A feature of this name and tier, with the defaults for everything else.
    pub fn new(name: impl Into<Cow<'static, str>>, tier: Tier) -> Self {
        Self { name: name.into(), tier, needs: Vec::new(), off_unless_known: false, errors: None }
    }

    /// The feature needs this component: it is degraded while the component is degraded, and off while it is critical.
    ///
    /// Where a feature needs several, the worst one decides.
    pub fn needs(mut self, component: impl Into<Cow<'static, str>>) -> Self {
        self.needs.push(component.into());
        self
    }

    /// The feature is off until the flags were read once, and while the state of a component that it
    /// [needs](Self::needs) is unknown, without probes. Unless set, it is on.
    ///
    /// For features that may be off for a good reason, which an instance that starts during an outage of the store can't know.
    pub const fn off_unless_known(mut self) -> Self {
        self.off_unless_known = true;
        self
    }

    /// Degrades the feature by its own errors. The default, with [`DegradeOnErrors::default`], except for the tier
    /// [`Core`](Tier::Core).
    pub const fn degrade_on_errors(mut self, rules: DegradeOnErrors) -> Self {
        self.errors = Some(OnErrors::Degrade(rules));
        self
    }

    /// Doesn't degrade the feature by its own errors. The default for the tier [`Core`](Tier::Core).
    pub const fn ignore_errors(mut self) -> Self {
        self.errors = Some(OnErrors::Ignore);
        self
    }

    fn check(self) -> Result<(Name, FeatureRules), ConfigError> {
        let name = Name::new(self.name)?;
        let on_errors = match (self.errors, self.tier) {
            (Some(OnErrors::Degrade(rules)), _) => Some(rules),
            (Some(OnErrors::Ignore), _) | (None, Tier::Core) => None,
            (None, _) => Some(DegradeOnErrors::new()),
        };
        let check_rules = |rules: DegradeOnErrors| rules.check().map_err(|error| error.inside("errors"));
        let check_need = |need| Name::new(need).map_err(|error| ConfigError::new("needs", error.value, error.allowed));
        let needs: Result<_, _> = self.needs.into_iter().map(check_need).collect();
        let checked = on_errors.map(check_rules).transpose().and_then(|errors| Ok((errors, needs?)));
        let (errors, needs) = checked.map_err(|error| in_feature(&name, error))?;
        Ok((name, FeatureRules { tier: self.tier, needs, off_unless_known: self.off_unless_known, errors }))
    }
}

/// When a feature degrades by its own errors, and for how long.
///
/// ```
/// use std::time::Duration;
/// use backstop_features::{DegradeOnErrors, Feature, feature};
///
/// static SEARCH: Feature = feature!("search");
///
/// let config = SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().min_errors(50).share(0.2));
/// # _ = config;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[must_use]
#[non_exhaustive]
pub struct DegradeOnErrors {
    /// See [`min_errors`](Self::min_errors).
    pub min_errors: u64,
    /// See [`share`](Self::share).
    pub share: f64,
    /// See [`window`](Self::window).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub window: Duration,
    /// See [`time`](Self::time).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub time: Duration,
    /// See [`max_time`](Self::max_time).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_time: Duration,
}

impl DegradeOnErrors {
    /// At least 5 errors, and at least 5 % of the calls, within 60 s from the first error: degraded for 300 s, and twice as
    /// long at each relapse, up to 1 h.
    pub const fn new() -> Self {
        Self {
            min_errors: DEFAULT_MIN_ERRORS,
            share: DEFAULT_SHARE,
            window: DEFAULT_WINDOW,
            time: DEFAULT_TIME,
            max_time: DEFAULT_MAX_TIME,
        }
    }

    /// How many errors it takes: 1 to 1,000,000, 5 unless set.
    pub const fn min_errors(mut self, errors: u64) -> Self {
        self.min_errors = errors;
        self
    }

    /// The share of the calls that must have failed: 0.000001 to 1, 0.05 unless set.
    pub const fn share(mut self, share: f64) -> Self {
        self.share = share;
        self
    }

    /// How long errors are added up, from the first one: 1 s to 24 h, 60 s unless set.
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// How long the feature is degraded: 1 s to 24 h, 300 s unless set.
    pub const fn time(mut self, time: Duration) -> Self {
        self.time = time;
        self
    }

    /// How long the feature is degraded at most, after several relapses: `time` to 24 h, 1 h unless set.
    pub const fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    fn check(self) -> Result<Rules, ConfigError> {
        let second = Duration::from_secs(1);
        ConfigError::check_range("min_errors", self.min_errors, 1..=1_000_000, "1 to 1000000")?;
        ConfigError::check_range("share", self.share, 0.000_001..=1.0, "0.000001 to 1")?;
        ConfigError::check_range("window", self.window, second..=LONGEST, "1 s to 24 h")?;
        ConfigError::check_range("time", self.time, second..=LONGEST, "1 s to 24 h")?;
        ConfigError::check_range("max_time", self.max_time, self.time..=LONGEST, "time to 24 h")?;
        Ok(Rules {
            min_errors: self.min_errors,
            share: (self.share * 1e6).round() as u32,
            window: nanos(self.window),
            degrade: nanos(self.time),
            degrade_max: nanos(self.max_time),
            settle: nanos(SETTLE),
        })
    }
}

impl Default for DegradeOnErrors {
    fn default() -> Self {
        Self::new()
    }
}

/// A checked [`FeaturesConfig`].
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) fixed: FixedSettings,
    pub(crate) store: StoreTimes,
    /// Each name once.
    pub(crate) features: Vec<(Name, FeatureRules)>,
}

/// What a reload can't change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FixedSettings {
    pub(crate) instance: Option<Cow<'static, str>>,
    pub(crate) store_component: Option<Cow<'static, str>>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct StoreTimes {
    pub(crate) timeout: Duration,
    pub(crate) poll_interval: Duration,
}

/// A checked [`FeatureConfig`].
#[derive(Clone, Debug)]
pub(crate) struct FeatureRules {
    pub(crate) tier: Tier,
    pub(crate) needs: Vec<Name>,
    pub(crate) off_unless_known: bool,
    /// `None` if errors are ignored.
    pub(crate) errors: Option<Rules>,
}

impl FeaturesConfig {
    pub(crate) fn check(self) -> Result<Settings, ConfigError> {
        let Self { instance, store_component, store_timeout, poll_interval, features } = self;
        ConfigError::check_range("features", features.len(), ..=MOST_FEATURES, "at most 10000")?;
        let millis = Duration::from_millis;
        ConfigError::check_range("store_timeout", store_timeout, millis(10)..=millis(10_000), "10 ms to 10 s")?;
        ConfigError::check_range("poll_interval", poll_interval, millis(100)..=millis(60_000), "100 ms to 60 s")?;
        if let Some(instance) = &instance
            && (instance.is_empty() || instance.len() > 64 || !instance.bytes().all(|byte| byte.is_ascii_graphic()))
        {
            return Err(ConfigError::new("instance", instance.clone(), "1 to 64 bytes of printable ASCII"));
        }
        let features: Vec<_> = features.into_iter().map(FeatureConfig::check).collect::<Result<_, _>>()?;
        let mut names = std::collections::HashSet::with_capacity(features.len());
        match features.iter().find(|(name, _)| !names.insert(name)) {
            Some((twice, _)) => Err(ConfigError::new("features", twice.clone(), "each feature once")),
            None => Ok(Settings {
                fixed: FixedSettings { instance, store_component },
                store: StoreTimes { timeout: store_timeout, poll_interval },
                features,
            }),
        }
    }
}

/// The same error for a field of this feature: `share` becomes `features.search.share`.
pub(crate) fn in_feature(name: &Name, error: ConfigError) -> ConfigError {
    error.inside(name.as_str()).inside("features")
}
