//! The configuration and the builder.

use std::borrow::Cow;

use backstop_core::{ConfigError, Name};

use super::{PropagateDegradationLayer, upstream::Upstream};
use crate::{X_DATA_FRESHNESS, X_FALLBACK_SOURCE, config::label_headers};

impl PropagateDegradationLayer {
    /// A layer around a client of the service `name`, which sends the default headers.
    pub fn new(name: Name) -> Self {
        Self::with(Upstream { name, source_header: X_FALLBACK_SOURCE, freshness_header: X_DATA_FRESHNESS })
    }

    /// A builder, for other settings.
    ///
    /// ```
    /// use backstop_degradation_header::PropagateDegradationLayer;
    ///
    /// let layer = PropagateDegradationLayer::builder("ml_service").source_header("x-ml-source").build()?;
    /// # _ = layer;
    /// # Ok::<(), backstop_degradation_header::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> PropagateDegradationBuilder {
        PropagateDegradationBuilder { config: PropagateDegradationConfig::new(name) }
    }

    /// Builds a layer from a configuration.
    ///
    /// # Errors
    /// As [`PropagateDegradationBuilder::build`].
    pub fn from_config(config: PropagateDegradationConfig) -> Result<Self, ConfigError> {
        PropagateDegradationBuilder { config }.build()
    }
}

/// The layer's settings as plain data, for [`PropagateDegradationLayer::from_config`].
///
/// With the feature `serde` it can be read from a file: see [`DegradationHeaderConfig`](crate::DegradationHeaderConfig).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "PropagateDegradationConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct PropagateDegradationConfig {
    /// The [`Name`] of the upstream service: the first one of each path.
    pub name: Cow<'static, str>,
    /// See [`source_header`](PropagateDegradationBuilder::source_header).
    pub source_header: Cow<'static, str>,
    /// See [`freshness_header`](PropagateDegradationBuilder::freshness_header).
    pub freshness_header: Cow<'static, str>,
}

impl PropagateDegradationConfig {
    /// The defaults, for the service of this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            source_header: "x-fallback-source".into(),
            freshness_header: "x-data-freshness".into(),
        }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }
}

/// Builds a [`PropagateDegradationLayer`]: see [`PropagateDegradationLayer::builder`].
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PropagateDegradationBuilder {
    config: PropagateDegradationConfig,
}

impl PropagateDegradationBuilder {
    /// The header in which the upstream lists its sources. Default: `X-Fallback-Source`.
    pub fn source_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.source_header = name.into();
        self
    }

    /// The header in which the upstream says its freshness. Default: `X-Data-Freshness`.
    pub fn freshness_header(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.config.freshness_header = name.into();
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`], or a header name isn't allowed, as for
    /// [`DegradationHeaderBuilder::build`](crate::DegradationHeaderBuilder::build).
    pub fn build(self) -> Result<PropagateDegradationLayer, ConfigError> {
        let PropagateDegradationConfig { name, source_header, freshness_header } = self.config;
        let (source_header, freshness_header) = label_headers(source_header, freshness_header)?;
        Ok(PropagateDegradationLayer::with(Upstream { name: Name::new(name)?, source_header, freshness_header }))
    }
}
