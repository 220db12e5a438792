//! The configuration and the builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{HttpReject, ProblemDetails, RejectAsError, RejectWith};

use super::{layer::PropagateDeadlineLayer, propagation::Propagation};
use crate::{
    header::{self, DeadlineHeader},
    macros::define_reject_methods,
};

/// Time for the next service's response, or error, to arrive. A round trip within a region takes a few milliseconds, and a
/// busy scheduler adds as much.
const DEFAULT_MARGIN: Duration = Duration::from_millis(10);

const LARGEST: Duration = Duration::from_secs(10);

/// Deadline propagation as plain data, for [`PropagateDeadlineLayer::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PropagateDeadlineConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`PropagateDeadlineBuilder::margin`].
    pub margin: Duration,
    /// See [`PropagateDeadlineBuilder::send`]. Each header once.
    pub send: Vec<DeadlineHeader>,
}

impl PropagateDeadlineConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), margin: DEFAULT_MARGIN, send: Vec::new() }
    }
}

impl PropagateDeadlineLayer {
    /// Sends the time left, minus 10 ms, in `grpc-timeout`, with gRPC requests only.
    pub fn new(name: Name) -> Self {
        Self::with(Propagation { name, margin: DEFAULT_MARGIN, send: Vec::new(), reject: HttpReject::default() })
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
        let Self { config: PropagateDeadlineConfig { name, margin, send }, reject } = self;
        let margin = ConfigError::check_range("margin", margin, ..=LARGEST, "0 to 10 s")?;
        header::check_each_once("send", &send)?;
        Ok(PropagateDeadlineLayer::with(Propagation { name: Name::new(name)?, margin, send, reject }))
    }
}

impl<R> fmt::Debug for PropagateDeadlineBuilder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropagateDeadlineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
