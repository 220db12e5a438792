//! The configuration and the builder.

use std::{borrow::Cow, fmt, ops::RangeInclusive, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{ProblemDetails, RejectAsError, RejectWith, Strategies};

use super::{
    layer::{HttpStrategies, PlainStrategies, TimeoutLayer},
    layer_state::TimeoutState,
    live_limit::LiveLimit,
    upload::LimitStart,
};
use crate::settings;

const DEFAULT_LIMIT: Duration = Duration::from_secs(1);

const ALLOWED: (RangeInclusive<Duration>, &str) =
    (Duration::from_millis(1)..=Duration::from_secs(60 * 60), "1 ms to 1 h");

/// A timeout as plain data, for [`TimeoutLayer::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_timeout::TimeoutConfig;
///
/// let config: TimeoutConfig = toml::from_str(r#"
///     name = "ml_service"
///     limit = "1s"            # 1 ms to 1 h
///     after_upload = false    # true: the limit starts at the end of the request's body
/// "#)?;
/// assert_eq!(config, TimeoutConfig::new("ml_service"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "TimeoutConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct TimeoutConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`TimeoutBuilder::limit`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub limit: Duration,
    /// See [`TimeoutBuilder::after_upload`].
    pub after_upload: bool,
}

impl TimeoutConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), limit: DEFAULT_LIMIT, after_upload: false }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    pub(super) fn check(self) -> Result<(Name, Duration, LimitStart), ConfigError> {
        let (name, limit) = settings::check(self.name, self.limit, ALLOWED)?;
        Ok((name, limit, if self.after_upload { LimitStart::AfterUpload } else { LimitStart::WithCall }))
    }
}

impl TimeoutLayer {
    /// Ends calls after 1 s.
    pub fn new(name: Name) -> Self {
        let limit = Arc::new(LiveLimit::new(DEFAULT_LIMIT, LimitStart::default()));
        Self::with(TimeoutState { name, protocol: HttpStrategies::default(), limit })
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::TimeoutLayer;
    ///
    /// let error = TimeoutLayer::builder("ml_service").limit(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.to_string(), "limit is 0ns, allowed is: 1 ms to 1 h");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> TimeoutBuilder {
        TimeoutBuilder::of(TimeoutConfig::new(name))
    }

    /// Builds the layer from plain data.
    ///
    /// # Errors
    /// As [`TimeoutBuilder::build`].
    pub fn from_config(config: TimeoutConfig) -> Result<Self, ConfigError> {
        TimeoutBuilder::of(config).build()
    }
}

/// Builds a [`TimeoutLayer`]: see [`TimeoutLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TimeoutBuilder<P = HttpStrategies> {
    config: TimeoutConfig,
    protocol: P,
}

impl TimeoutBuilder {
    fn of(config: TimeoutConfig) -> Self {
        Self { config, protocol: HttpStrategies::default() }
    }

    /// For functions and other services that don't speak HTTP: rejects with the service's error, which must implement
    /// `From<Rejection>`, as `BoxError` does.
    ///
    /// It replaces all other strategies, so it can only be called before they are chosen.
    pub fn plain(self) -> TimeoutBuilder<PlainStrategies> {
        self.map(|_| PlainStrategies::default())
    }
}

impl<P> TimeoutBuilder<P> {
    /// The longest time that a call may take: 1 ms to 1 h. The default is 1 s. It includes the wait for readiness, and the part
    /// of the response that is [covered](TimeoutBuilder::cover).
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// If a request has a body, starts the limit at the end of that body. For streamed uploads.
    ///
    /// Before that, a call ends only if the service doesn't read the body for as long as the limit, although there is more to
    /// read. A wait for the caller never ends it: limit those with a [`DeadlineLayer`](crate::DeadlineLayer) at the edge, or
    /// with the server's own timeouts. Envoy's route timeout does the same.
    ///
    /// This needs an `http::Request` with a body that the layer can [watch](backstop_kit::Upload::of_any). Otherwise the
    /// limit starts with the call.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::TimeoutLayer;
    ///
    /// let timeout = TimeoutLayer::builder("uploads").limit(Duration::from_secs(5)).after_upload().build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub const fn after_upload(mut self) -> Self {
        self.config.after_upload = true;
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`] or `limit` isn't 1 ms to 1 h.
    pub fn build(self) -> Result<TimeoutLayer<P>, ConfigError> {
        let Self { config, protocol } = self;
        let (name, limit, limit_start) = config.check()?;
        Ok(TimeoutLayer::with(TimeoutState { name, protocol, limit: Arc::new(LiveLimit::new(limit, limit_start)) }))
    }

    /// The settings so far.
    pub const fn config(&self) -> &TimeoutConfig {
        &self.config
    }

    fn map<P2>(self, f: impl FnOnce(P) -> P2) -> TimeoutBuilder<P2> {
        TimeoutBuilder { config: self.config, protocol: f(self.protocol) }
    }
}

impl<J, R, U, K, A> TimeoutBuilder<Strategies<J, R, U, K, A>> {
    /// How much of the response the limit covers: [`UntilHeaders`](crate::UntilHeaders), the default,
    /// [`UntilFirstFrame`](crate::UntilFirstFrame) or [`UntilBodyEnd`](crate::UntilBodyEnd).
    ///
    /// ```
    /// use backstop_timeout::{TimeoutLayer, UntilBodyEnd};
    ///
    /// let timeout = TimeoutLayer::builder("ml_service").cover(UntilBodyEnd).build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub fn cover<U2>(self, until: U2) -> TimeoutBuilder<Strategies<J, R, U2, K, A>> {
        self.map(|protocol| protocol.with_until(until))
    }

    /// Rejects with a response whose body says why: a problem document (RFC 9457), see [`ProblemDetails`]. Unless set, it has no
    /// body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
    pub fn problem_details(self) -> TimeoutBuilder<Strategies<J, ProblemDetails, U, K, A>> {
        self.map(|protocol| protocol.with_reject(ProblemDetails::new()))
    }

    /// Rejects with the service's error, which must implement `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> TimeoutBuilder<Strategies<J, RejectAsError, U, K, A>> {
        self.map(|protocol| protocol.with_reject(RejectAsError::new()))
    }

    /// Rejects with what `make` returns: a `Result` with the service's own types.
    pub fn reject_with<F, Res, E>(self, make: F) -> TimeoutBuilder<Strategies<J, RejectWith<F>, U, K, A>>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.map(|protocol| protocol.with_reject(RejectWith::new(make)))
    }
}

impl<P> fmt::Debug for TimeoutBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
