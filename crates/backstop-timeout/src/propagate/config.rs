//! The configuration and the builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{HttpReject, ProblemDetails, RejectAsError, RejectWith};

use super::{
    layer::PropagateDeadlineLayer,
    propagation::{Propagation, Sent},
};
use crate::{
    header::{self, DeadlineHeader},
    macros::define_reject_methods,
};

/// Time for the next service's response, or error, to arrive. A round trip within a region takes a few milliseconds, and a
/// busy scheduler adds as much.
const DEFAULT_MARGIN: Duration = Duration::from_millis(10);

const LARGEST: Duration = Duration::from_secs(10);

/// Deadline propagation as plain data, for [`PropagateDeadlineLayer::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_timeout::PropagateDeadlineConfig;
///
/// let config: PropagateDeadlineConfig = toml::from_str(r#"
///     name = "ml_service"
///     margin = "10ms"    # 0 to 10 s
///     send = []          # headers: "x-envoy-expected-rq-timeout-ms", "connect-timeout-ms"
/// "#)?;
/// assert_eq!(config, PropagateDeadlineConfig::new("ml_service"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "PropagateDeadlineConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct PropagateDeadlineConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`PropagateDeadlineBuilder::margin`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub margin: Duration,
    /// See [`PropagateDeadlineBuilder::send`]. Each header once.
    #[cfg_attr(feature = "serde", serde(with = "backstop_kit::as_text::vec"))]
    pub send: Vec<DeadlineHeader>,
}

impl PropagateDeadlineConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), margin: DEFAULT_MARGIN, send: Vec::new() }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    pub(super) fn check(self) -> Result<(Name, Sent), ConfigError> {
        let Self { name, margin, send } = self;
        let margin = ConfigError::check_range("margin", margin, ..=LARGEST, "0 to 10 s")?;
        header::check_each_once("send", &send)?;
        Ok((Name::new(name)?, Sent { margin, send }))
    }
}

impl PropagateDeadlineLayer {
    /// Sends the time left, minus 10 ms, in `grpc-timeout`, with gRPC requests only.
    pub fn new(name: Name) -> Self {
        let sent = Sent { margin: DEFAULT_MARGIN, send: Vec::new() };
        Self::with(Propagation::new(name, sent, HttpReject::default()))
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::{DeadlineHeader, PropagateDeadlineLayer};
    ///
    /// let propagate = PropagateDeadlineLayer::builder("ml_service")
    ///     .margin(Duration::from_millis(5))
    ///     .send(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
    ///     .build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> PropagateDeadlineBuilder {
        PropagateDeadlineBuilder::of(PropagateDeadlineConfig::new(name))
    }

    /// Builds the layer from plain data.
    ///
    /// # Errors
    /// As [`PropagateDeadlineBuilder::build`].
    pub fn from_config(config: PropagateDeadlineConfig) -> Result<Self, ConfigError> {
        PropagateDeadlineBuilder::of(config).build()
    }
}

/// Builds a [`PropagateDeadlineLayer`]: see [`PropagateDeadlineLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PropagateDeadlineBuilder<R = HttpReject> {
    config: PropagateDeadlineConfig,
    reject: R,
}

impl PropagateDeadlineBuilder {
    fn of(config: PropagateDeadlineConfig) -> Self {
        Self { config, reject: HttpReject::default() }
    }
}

impl<R> PropagateDeadlineBuilder<R> {
    /// How much is subtracted from the time left: 0 to 10 s. The default is 10 ms.
    ///
    /// It is for the way back, so that the next service's response arrives in time. If no more time than the margin is left,
    /// the call is rejected.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.config.margin = margin;
        self
    }

    /// Sends the time in this header, too, with every request. The default is `grpc-timeout`, with gRPC requests only. The next
    /// service must know the header.
    pub fn send(mut self, header: DeadlineHeader) -> Self {
        self.config.send.push(header);
        self
    }

    define_reject_methods!(PropagateDeadlineBuilder { config });

    /// The settings so far.
    pub const fn config(&self) -> &PropagateDeadlineConfig {
        &self.config
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`], `margin` is over 10 s, or `send` has a header twice.
    pub fn build(self) -> Result<PropagateDeadlineLayer<R>, ConfigError> {
        let Self { config, reject } = self;
        let (name, sent) = config.check()?;
        Ok(PropagateDeadlineLayer::with(Propagation::new(name, sent, reject)))
    }
}

impl<R> fmt::Debug for PropagateDeadlineBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropagateDeadlineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
