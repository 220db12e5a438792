//! Declarations and the builder.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Level, Name};
use backstop_health::{ComponentState, Health, Reporter};

use crate::{
    CountStore, Features, FlagStore, Tier,
    auto_degrade::{Rules, nanos},
    erased_store::{ErasedCounts, ErasedFlags},
    registry::{Registry, Setup, Sources},
};

const DEFAULT_MIN_ERRORS: u64 = 5;
const DEFAULT_SHARE: f64 = 0.05;
const DEFAULT_WINDOW: Duration = Duration::from_secs(60);
const DEFAULT_TIME: Duration = Duration::from_secs(300);
const DEFAULT_MAX_TIME: Duration = Duration::from_secs(3_600);
/// All instances report once a second.
const SETTLE: Duration = Duration::from_secs(2);
const DEFAULT_STORE_TIMEOUT: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
/// A look is an index into a table of this size.
const MOST_FEATURES: usize = 10_000;

/// How a feature behaves: made by [`Feature::core`](crate::Feature::core), [`standard`](crate::Feature::standard) or
/// [`nice_to_have`](crate::Feature::nice_to_have).
#[derive(Clone, Debug)]
#[must_use = "a declaration does nothing until it is given to the builder"]
pub struct Declaration {
    pub(crate) name: Name,
    pub(crate) tier: Tier,
    pub(crate) needs: Vec<Name>,
    pub(crate) off_unless_known: bool,
    pub(crate) on_errors: Option<DegradeOnErrors>,
}

impl Declaration {
    pub(crate) fn new(name: Name, tier: Tier) -> Self {
        let on_errors = (tier != Tier::Core).then(DegradeOnErrors::default);
        Self { name, tier, needs: Vec::new(), off_unless_known: false, on_errors }
    }

    /// The feature needs this component: it is degraded while the component is degraded, and off while it is critical.
    ///
    /// Where a feature needs several, the worst one decides.
    pub fn needs(mut self, component: Name) -> Self {
        self.needs.push(component);
        self
    }

    /// The feature is off until the flags were read once, and while the state of a component that it
    /// [needs](Self::needs) is unknown. Unless set, it is on.
    ///
    /// For features that may be off for a good reason, which an instance that starts during an outage of the store can't know.
    pub const fn off_unless_known(mut self) -> Self {
        self.off_unless_known = true;
        self
    }

    /// Degrades the feature by its own errors. The default, with [`DegradeOnErrors::default`], except for the tier
    /// [`Core`](Tier::Core).
    pub const fn degrade_on_errors(mut self, rules: DegradeOnErrors) -> Self {
        self.on_errors = Some(rules);
        self
    }

    /// Doesn't degrade the feature by its own errors. The default for the tier [`Core`](Tier::Core).
    pub const fn ignore_errors(mut self) -> Self {
        self.on_errors = None;
        self
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
/// let declaration = SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().min_errors(50).share(0.2));
/// # _ = declaration;
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[must_use]
pub struct DegradeOnErrors {
    min_errors: u64,
    share: f64,
    window: Duration,
    time: Duration,
    max_time: Duration,
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

    pub(crate) fn check(self) -> Result<Rules, ConfigError> {
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

/// Builds [`Features`]: see [`Features::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FeaturesBuilder {
    declarations: Vec<Declaration>,
    flags: Option<Arc<dyn ErasedFlags>>,
    counts: Option<Arc<dyn ErasedCounts>>,
    instance: Option<String>,
    store_timeout: Duration,
    sources: Sources,
    health: Option<Health>,
    store_component: Option<Cow<'static, str>>,
}

impl Features {
    /// Declares features.
    pub fn builder() -> FeaturesBuilder {
        FeaturesBuilder {
            declarations: Vec::new(),
            flags: None,
            counts: None,
            instance: None,
            store_timeout: DEFAULT_STORE_TIMEOUT,
            sources: Sources::default(),
            health: None,
            store_component: None,
        }
    }
}

impl FeaturesBuilder {
    /// Declares a feature. Each feature is declared once; at most 10,000.
    pub fn declare(mut self, declaration: Declaration) -> Self {
        self.declarations.push(declaration);
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
    /// [need](Declaration::needs). Unless set, all is healthy.
    ///
    /// Where there is a store of [`flags`](Self::flags), the service is starting until they were read once, or until
    /// [`start_within`](backstop_health::HealthBuilder::start_within) has passed.
    ///
    /// ```
    /// use backstop_features::{Feature, Features, feature, name};
    /// use backstop_health::{Component, Health};
    ///
    /// static REVIEWS: Feature = feature!("reviews");
    ///
    /// let health = Health::builder().component(Component::optional("reviews_api")).build()?;
    /// let features = Features::builder()
    ///     .declare(REVIEWS.standard().needs(name!("reviews_api")))
    ///     .health(&health)
    ///     .build()?;
    /// # Ok::<(), backstop_features::ConfigError>(())
    /// ```
    pub fn health(mut self, health: &Health) -> Self {
        let (of_level, of_components) = (health.clone(), health.clone());
        self.health = Some(health.clone());
        self.level(move || of_level.level()).components(move |name| {
            let component = of_components.component(name.as_str())?;
            // Its level is damped, so that the feature doesn't flap. Also while the state is unknown for a moment, because a
            // report has ended.
            let level = component.level();
            (level != Level::Healthy || component.state() != ComponentState::Unknown).then_some(level)
        })
    }

    /// The component of [`health`](Self::health) that shows whether the stores work: an optional one, since it must not move the
    /// level. Unless set, failures are only logged.
    pub fn store_component(mut self, component: impl Into<Cow<'static, str>>) -> Self {
        self.store_component = Some(component.into());
        self
    }

    /// The level of the service, where it isn't that of a [`Health`](Self::health), which sheds features by their tiers. Unless set, it is healthy.
    ///
    /// Asked twice a second, by [`run`](Features::run).
    pub fn level(mut self, level: impl Fn() -> Level + Send + Sync + 'static) -> Self {
        self.sources.level = Some(Arc::new(level));
        self
    }

    /// The states of the components that features [need](Declaration::needs), where they aren't those of a
    /// [`Health`](Self::health): `None` while one is unknown.
    ///
    /// Asked twice a second, by [`run`](Features::run).
    pub fn components(mut self, state: impl Fn(&Name) -> Option<Level> + Send + Sync + 'static) -> Self {
        self.sources.component = Some(Arc::new(state));
        self
    }

    /// How this instance calls itself in the counts: 1 to 64 bytes of printable ASCII. Random unless set.
    ///
    /// Two instances must not have the same name: their errors would count as those of one.
    pub fn instance(mut self, instance: impl Into<String>) -> Self {
        self.instance = Some(instance.into());
        self
    }

    /// How long a call of a store may take: 10 ms to 10 s, 1 s unless set. No request waits for one.
    pub const fn store_timeout(mut self, timeout: Duration) -> Self {
        self.store_timeout = timeout;
        self
    }

    /// The features.
    ///
    /// # Errors
    /// [`ConfigError`] if a value is out of range, a feature is declared twice, a feature needs a component that doesn't exist, or
    /// the [`store_component`](Self::store_component) isn't an optional component.
    pub fn build(self) -> Result<Features, ConfigError> {
        let Self { declarations, flags, counts, instance, store_timeout, sources, health, store_component } = self;
        ConfigError::check_range("features", declarations.len(), ..=MOST_FEATURES, "at most 10000")?;
        let timeouts = Duration::from_millis(10)..=Duration::from_secs(10);
        ConfigError::check_range("store_timeout", store_timeout, timeouts, "10 ms to 10 s")?;
        let instance = instance.unwrap_or_else(random_instance);
        if instance.is_empty() || instance.len() > 64 || !instance.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new("instance", instance, "1 to 64 bytes of printable ASCII"));
        }
        for (i, declaration) in declarations.iter().enumerate() {
            if declarations[..i].iter().any(|earlier| earlier.name == declaration.name) {
                return Err(ConfigError::new("declare", declaration.name.clone(), "each feature once"));
            }
            for component in &declaration.needs {
                let exists = match &health {
                    Some(health) => health.component(component.as_str()).is_some(),
                    None => sources.component.is_some(),
                };
                if !exists {
                    return Err(ConfigError::new("needs", component.clone(), "a component of `health`"));
                }
            }
        }
        let store_reporter = store_component.map(|name| store_reporter(health.as_ref(), &name)).transpose()?;
        let start_hold = health.filter(|_| flags.is_some()).map(|health| health.hold_start());
        let setup = Setup { flags, counts, instance, store_timeout, sources, store_reporter, start_hold };
        Registry::build(declarations, setup).map(Features::new)
    }
}

fn store_reporter(health: Option<&Health>, name: &str) -> Result<Reporter, ConfigError> {
    let is_optional = |health: &&Health| health.component(name).is_some_and(|component| !component.is_essential());
    match health.filter(is_optional) {
        Some(health) => health.reporter(name, "features"),
        None => Err(ConfigError::new("store_component", name.to_owned(), "an optional component of `health`")),
    }
}

fn random_instance() -> String {
    let jitter = backstop_kit::Jitter::new(None);
    format!("{:016x}", jitter.number(0..u64::MAX))
}

impl fmt::Debug for FeaturesBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeaturesBuilder")
            .field("declarations", &self.declarations)
            .field("instance", &self.instance)
            .field("store_timeout", &self.store_timeout)
            .finish_non_exhaustive()
    }
}
