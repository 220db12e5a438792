//! The configuration and the builder.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use backstop_core::{ConfigError, Level, Name};
use http::Method;

use crate::{
    FaultLayer, HttpFaults, HttpFaultsAsErrors, PlainFaults,
    conditions::{Condition, Conditions},
    engine::MAX_HELD,
    injector::Injector,
    run::{RequestView, is_below},
};

const DEFAULT_MAX_SHARE: f64 = 0.05;
/// Routes that tell whether the service is well, and routes of operators.
const NEVER_ON: [&str; 5] = ["/health", "/livez", "/readyz", "/admin", "/grpc.health.v1.Health"];
const MOST_PATHS: usize = 100;

/// A fault layer as plain data, for [`FaultLayer::from_config`](crate::FaultLayer::from_config).
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, and an unknown field is an
/// error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_fault::FaultConfig;
///
/// let config: FaultConfig = toml::from_str(r#"
///     name = "edge"
///     armed = false             # needs a level to arm: see FaultLayer::builder_from
///     max_share = 0.05          # more than 0, up to 1
///     max_held = 16             # 1 to 16 calls
///     unsafe_methods = false
///     never_on = []             # at most 100 paths
/// "#)?;
/// assert_eq!(config, FaultConfig::new("edge"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "FaultConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct FaultConfig {
    /// The layer's [name](crate::Name).
    pub name: Cow<'static, str>,
    /// See [`FaultBuilder::arm`].
    pub armed: bool,
    /// See [`FaultBuilder::max_share`].
    pub max_share: f64,
    /// See [`FaultBuilder::max_held`].
    pub max_held: u32,
    /// See [`FaultBuilder::allow_unsafe_methods`].
    pub unsafe_methods: bool,
    /// Further paths that are never hit: see [`FaultBuilder::never_on`].
    pub never_on: Vec<Cow<'static, str>>,
}

impl FaultConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let Settings { armed, max_share, max_held, unsafe_methods, never_on } = Settings::default();
        Self { name: name.into(), armed, max_share, max_held, unsafe_methods, never_on }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    pub(crate) fn check(self) -> Result<(Name, Settings), ConfigError> {
        let Self { name, armed, max_share, max_held, unsafe_methods, never_on } = self;
        if !(max_share > 0.0 && max_share <= 1.0) {
            return Err(ConfigError::new("max_share", max_share.to_string(), "more than 0, up to 1"));
        }
        ConfigError::check_range("max_held", max_held, 1..=MAX_HELD, "1 to 16")?;
        ConfigError::check_range("never_on", never_on.len(), ..=MOST_PATHS, "at most 100 paths")?;
        if let Some(path) = never_on.iter().find(|path| !path.starts_with('/')) {
            return Err(ConfigError::new("never_on", path.clone(), "paths that begin with /"));
        }
        Ok((Name::new(name)?, Settings { armed, max_share, max_held, unsafe_methods, never_on }))
    }
}

/// A valid configuration.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) armed: bool,
    pub(crate) max_share: f64,
    pub(crate) max_held: u32,
    pub(crate) unsafe_methods: bool,
    pub(crate) never_on: Vec<Cow<'static, str>>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            armed: false,
            max_share: DEFAULT_MAX_SHARE,
            max_held: MAX_HELD,
            unsafe_methods: false,
            never_on: Vec::new(),
        }
    }
}

impl Settings {
    /// Whether a call may be hit. One without a request, such as a function, may do anything: it counts as unsafe.
    pub(crate) fn may_hit(&self, request: Option<&RequestView<'_>>) -> bool {
        request.map_or(self.unsafe_methods, |it| self.may_hit_method(it.method) && self.may_hit_path(it.path))
    }

    pub(crate) fn may_hit_method(&self, method: &Method) -> bool {
        self.unsafe_methods || method.is_safe()
    }

    pub(crate) fn may_hit_path(&self, path: &str) -> bool {
        !self.never_on().any(|never| is_below(path, never))
    }

    /// All paths that are never hit.
    pub(crate) fn never_on(&self) -> impl Iterator<Item = &str> {
        NEVER_ON.into_iter().chain(self.never_on.iter().map(|path| &**path))
    }

    /// A reload changes nothing that only the build may allow.
    pub(crate) fn check_reload(&self, new: &Self) -> Result<(), ConfigError> {
        let unchanged = |field, built: bool, new: bool| {
            ConfigError::check_range(field, new, built..=built, "what it was built with").map(drop)
        };
        unchanged("armed", self.armed, new.armed)?;
        unchanged("unsafe_methods", self.unsafe_methods, new.unsafe_methods)?;
        let allowed = format!("up to {}, which it was built with", self.max_share);
        ConfigError::check_range("max_share", new.max_share, ..=self.max_share, allowed)?;
        let allowed = format!("up to {}, which it was built with", self.max_held);
        ConfigError::check_range("max_held", new.max_held, ..=self.max_held, allowed)?;
        match self.never_on.iter().find(|path| !new.never_on.contains(path)) {
            None => Ok(()),
            Some(missing) => {
                let allowed = format!("paths with {missing}, which it was built with");
                Err(ConfigError::new("never_on", new.never_on.join(", "), allowed))
            }
        }
    }
}

/// Builds a [`FaultLayer`](crate::FaultLayer): see [`FaultLayer::builder`](crate::FaultLayer::builder).
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct FaultBuilder<F = HttpFaults> {
    config: FaultConfig,
    conditions: Conditions,
    is_without_health: bool,
    faults: PhantomData<fn() -> F>,
}

impl FaultBuilder {
    pub(crate) fn new(config: FaultConfig) -> Self {
        Self { config, conditions: Conditions::default(), is_without_health: false, faults: PhantomData }
    }
}

impl<F> FaultBuilder<F> {
    /// Lets runs be started. Without it, the layer is inert, whatever operators do.
    ///
    /// It also needs to know how the service is: [`level`](Self::level), `health` (feature `health`), or
    /// [`without_health`](Self::without_health).
    pub const fn arm(mut self) -> Self {
        self.config.armed = true;
        self
    }

    /// The greatest share of calls, or of principals, that a run may hit: more than 0, up to 1; 0.05 unless set.
    ///
    /// A reload may lower it, and doesn't raise it above what the layer was built with.
    pub const fn max_share(mut self, share: f64) -> Self {
        self.config.max_share = share;
        self
    }

    /// The most calls that are delayed or hang at once: 1 to 16, 16 unless set. Further ones are made as usual.
    ///
    /// A reload may lower it, and doesn't raise it above what the layer was built with.
    pub const fn max_held(mut self, calls: u32) -> Self {
        self.config.max_held = calls;
        self
    }

    /// Lets requests be hit whose method isn't safe (RFC 9110 §9.2.1), such as `POST`, and calls without a request: functions and
    /// [plain](Self::plain) services. gRPC calls are `POST`s.
    ///
    /// A delayed or truncated `POST` has been processed, and its caller may not know. Allow it only where that does no harm.
    pub const fn allow_unsafe_methods(mut self) -> Self {
        self.config.unsafe_methods = true;
        self
    }

    /// Adds a path that is never hit, with all paths below it. `/health`, `/livez`, `/readyz`, `/admin` and
    /// `/grpc.health.v1.Health` are never hit in any case. A reload may add paths, and doesn't remove those of the build.
    ///
    /// It is compared with the request's path as the layer sees it: inside `Router::nest`, axum has removed the prefix.
    pub fn never_on(mut self, path: impl Into<Cow<'static, str>>) -> Self {
        self.config.never_on.push(path.into());
        self
    }

    /// The level of the service. A run is refused, and ends, unless it is healthy.
    pub fn level(mut self, level: impl Fn() -> Level + Send + Sync + 'static) -> Self {
        self.conditions.level = Some(Arc::new(level));
        self
    }

    /// Whether the service drains. Then a run is refused, and ends.
    pub fn draining(mut self, draining: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.conditions.draining = Some(Arc::new(draining));
        self
    }

    /// Follows the [level](Self::level) and the [drain](Self::draining) of a `Health`.
    #[cfg(feature = "health")]
    #[cfg_attr(docsrs, doc(cfg(feature = "health")))]
    pub fn health(self, health: &backstop_health::Health) -> Self {
        let (levels, drain) = (health.clone(), health.drain());
        self.level(move || levels.level()).draining(move || drain.has_begun())
    }

    /// Arms the layer although nothing says how the service is. For tests, and for tools that are no services.
    pub const fn without_health(mut self) -> Self {
        self.is_without_health = true;
        self
    }

    /// Refuses and ends runs while `is_met` returns true. `name` says in logs and refusals what was met.
    ///
    /// It is asked by each call while a run runs, and at least once a second while a call is held. It must not block.
    pub fn abort_when(mut self, name: Name, is_met: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.conditions.others.push(Condition::flag(name, is_met));
        self
    }

    /// Ends a run when a count is greater than it was at its start: see [`abort_when`](Self::abort_when).
    pub fn abort_when_grows(mut self, name: Name, count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.conditions.others.push(Condition::count(name, count));
        self
    }

    /// Ends a run when a call finds no provider of this chain that answers.
    #[cfg(feature = "fallback")]
    #[cfg_attr(docsrs, doc(cfg(feature = "fallback")))]
    pub fn abort_on_exhaustion(self, chain: &backstop_fallback::FallbackHandle) -> Self {
        let (name, chain) = (chain.name().clone(), chain.clone());
        self.abort_when_grows(name, move || chain.status().episode.map_or(0, |episode| episode.exhausted))
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &FaultConfig {
        &self.config
    }

    /// Around a client: an error or a reset is an error of the service, which must implement `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> FaultBuilder<HttpFaultsAsErrors> {
        self.with_faults()
    }

    /// For services that don't speak HTTP: each failure is an error of the service, which must implement `From<Rejection>`.
    ///
    /// Such a request has no method and no path. A run hits it if the build [allows unsafe
    /// methods](Self::allow_unsafe_methods), unless the run names a method, a path, a header or principals.
    pub fn plain(self) -> FaultBuilder<PlainFaults> {
        self.with_faults()
    }

    fn with_faults<F2>(self) -> FaultBuilder<F2> {
        let Self { config, conditions, is_without_health, .. } = self;
        FaultBuilder { config, conditions, is_without_health, faults: PhantomData }
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if the name isn't a [`Name`](crate::Name), a value is out of range, or the layer is armed and nothing says how
    /// the service is.
    pub fn build(self) -> Result<FaultLayer<F>, ConfigError> {
        let Self { config, conditions, is_without_health, .. } = self;
        let (name, settings) = config.check()?;
        if settings.armed && conditions.level.is_none() && !is_without_health {
            return Err(ConfigError::new("level", "none", "a level, or `without_health`, in a layer that is armed"));
        }
        Ok(FaultLayer::with(Injector::new(name, settings, conditions)))
    }
}

impl<F> fmt::Debug for FaultBuilder<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultBuilder")
            .field("config", &self.config)
            .field("conditions", &self.conditions)
            .finish_non_exhaustive()
    }
}
