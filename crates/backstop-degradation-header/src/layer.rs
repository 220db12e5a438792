//! The layer.

use std::sync::Arc;

use backstop_core::{ConfigError, Name};
use tower_layer::Layer;

use crate::{
    DegradationHeader, DegradationHeaderBuilder, DegradationHeaderConfig,
    config::{PublicNames, Settings},
};

/// Labels degraded answers. See the [crate docs](crate).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DegradationHeaderLayer {
    settings: Arc<Settings>,
}

impl DegradationHeaderLayer {
    /// The defaults. It takes no name: there is nothing that it counts, and it never answers itself.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_degradation_header::{DegradationHeaderLayer, Details, Report};
    ///
    /// # fn main() -> Result<(), backstop_degradation_header::ConfigError> {
    /// let layer = DegradationHeaderLayer::builder().details(Details::Parameters).report(Report::Always).build()?;
    /// # _ = layer;
    /// let error = DegradationHeaderLayer::builder().source_header("cache-control").build().unwrap_err();
    /// assert_eq!(error.field, "source_header");
    /// # Ok(())
    /// # }
    /// ```
    pub fn builder() -> DegradationHeaderBuilder {
        DegradationHeaderBuilder::default()
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`DegradationHeaderBuilder::build`].
    pub fn from_config(config: DegradationHeaderConfig) -> Result<Self, ConfigError> {
        DegradationHeaderBuilder::new(config).build()
    }

    /// What sources are called outside. A source for which `names` has none isn't listed, and the answer is labelled
    /// by its freshness alone.
    ///
    /// That holds for what handlers and upstreams listed as well, without its parameters: a name that one of our own layers
    /// wrote further in can't be told from theirs once a response was built anew. Name those that are public already, too.
    /// Of a path such as `recs/cached` each name is looked up.
    ///
    /// ```
    /// use backstop_degradation_header::{DegradationHeaderLayer, name};
    ///
    /// let layer = DegradationHeaderLayer::new().public_names(|source| match source.as_str() {
    ///     "redis-eu-west-1" | "cached" => Some(name!("cached")),
    ///     _ => None,
    /// });
    /// # _ = layer;
    /// ```
    pub fn public_names(mut self, names: impl Fn(&Name) -> Option<Name> + Send + Sync + 'static) -> Self {
        Arc::make_mut(&mut self.settings).public_names = PublicNames::new(names);
        self
    }

    pub(crate) fn with(settings: Settings) -> Self {
        Self { settings: Arc::new(settings) }
    }
}

impl Default for DegradationHeaderLayer {
    fn default() -> Self {
        Self::new()
    }
}

impl<S> Layer<S> for DegradationHeaderLayer {
    type Service = DegradationHeader<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DegradationHeader::new(inner, Arc::clone(&self.settings))
    }
}
