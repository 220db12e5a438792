//! The configuration and the builder.

use std::{borrow::Cow, fmt, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{HttpReject, ProblemDetails, RejectAsError, RejectWith};

use super::{layer::DeadlineLayer, layer_state::DeadlineSettings};
use crate::{
    header::{self, DeadlineHeader},
    macros::define_reject_methods,
    settings,
};

/// Envoy's default for a route: "If not specified, the default is 15s" (`config.route.v3.RouteAction.timeout`).
const DEFAULT_LIMIT: Duration = Duration::from_secs(15);

const ALLOWED: (RangeInclusive<Duration>, &str) =
    (Duration::from_millis(1)..=Duration::from_secs(24 * 60 * 60), "1 ms to 24 h");

/// A deadline as plain data, for [`DeadlineLayer::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_timeout::DeadlineConfig;
///
/// let config: DeadlineConfig = toml::from_str(r#"
///     name = "edge"
///     limit = "15s"    # 1 ms to 24 h
///     trust = []       # headers: "x-envoy-expected-rq-timeout-ms", "connect-timeout-ms"
/// "#)?;
/// assert_eq!(config, DeadlineConfig::new("edge"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "DeadlineConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct DeadlineConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`DeadlineBuilder::limit`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub limit: Duration,
    /// See [`DeadlineBuilder::trust`]. Each header once.
    #[cfg_attr(feature = "serde", serde(with = "backstop_kit::as_text::vec"))]
    pub trust: Vec<DeadlineHeader>,
}

impl DeadlineConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), limit: DEFAULT_LIMIT, trust: Vec::new() }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    pub(super) fn check(self) -> Result<(Name, DeadlineSettings), ConfigError> {
        let Self { name, limit, trust } = self;
        let (name, limit) = settings::check(name, limit, ALLOWED)?;
        header::check_each_once("trust", &trust)?;
        Ok((name, DeadlineSettings { limit, trust }))
    }
}

impl DeadlineLayer {
    /// Limits each request to 15 s, or to a shorter `grpc-timeout` of a gRPC request.
    pub fn new(name: Name) -> Self {
        let settings = DeadlineSettings { limit: DEFAULT_LIMIT, trust: Vec::new() };
        Self::with(name, settings, HttpReject::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::{DeadlineHeader, DeadlineLayer};
    ///
    /// let deadline = DeadlineLayer::builder("edge")
    ///     .limit(Duration::from_secs(5))
    ///     .trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
    ///     .build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> DeadlineBuilder {
        DeadlineBuilder::of(DeadlineConfig::new(name))
    }

    /// Builds the layer from plain data.
    ///
    /// # Errors
    /// As [`DeadlineBuilder::build`].
    pub fn from_config(config: DeadlineConfig) -> Result<Self, ConfigError> {
        DeadlineBuilder::of(config).build()
    }
}

/// Builds a [`DeadlineLayer`]: see [`DeadlineLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct DeadlineBuilder<R = HttpReject> {
    config: DeadlineConfig,
    reject: R,
}

impl DeadlineBuilder {
    fn of(config: DeadlineConfig) -> Self {
        Self { config, reject: HttpReject::default() }
    }
}

impl<R> DeadlineBuilder<R> {
    /// The longest time that a request may take: 1 ms to 24 h. The default is 15 s, Envoy's default for a route.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// Trusts callers' time limits in this header, too. The default is `grpc-timeout` on gRPC requests only. If there are
    /// several, the shortest counts.
    ///
    /// Trust a header only if your own proxies and services set it. A caller that can set it can make its own requests end
    /// early, and the work on them is wasted.
    pub fn trust(mut self, header: DeadlineHeader) -> Self {
        self.config.trust.push(header);
        self
    }

    define_reject_methods!(DeadlineBuilder { config });

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`], `limit` isn't 1 ms to 24 h, or `trust` has a header twice.
    pub fn build(self) -> Result<DeadlineLayer<R>, ConfigError> {
        let Self { config, reject } = self;
        let (name, settings) = config.check()?;
        Ok(DeadlineLayer::with(name, settings, reject))
    }
}

impl<R> fmt::Debug for DeadlineBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
