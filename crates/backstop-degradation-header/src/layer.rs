//! The layer.

use std::sync::Arc;

use backstop_core::Name;
use backstop_kit::Reloadable;
use tower_layer::Layer;

use crate::{
    DegradationHeader, DegradationHeaderHandle,
    layer_state::LayerState,
    settings::{PublicNames, Settings},
};

/// Labels degraded answers. See the [crate docs](crate).
#[derive(Clone, Debug)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DegradationHeaderLayer {
    state: Arc<LayerState>,
}

impl DegradationHeaderLayer {
    /// Maps sources to public names. A source for which `names` returns `None` isn't listed; the response then has only its
    /// freshness.
    ///
    /// Names that handlers and upstreams list are mapped too, and lose their parameters: once a response was rebuilt, they can't
    /// be distinguished from names that an inner layer wrote. So map names that are public already, too. Each name of a path
    /// such as `recs/cached` is mapped.
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
        Arc::make_mut(&mut self.state).public_names = PublicNames::new(names);
        self
    }

    pub(crate) fn with(settings: Settings, public_names: PublicNames) -> Self {
        let settings = Arc::new(Reloadable::new(settings));
        Self { state: Arc::new(LayerState { settings, public_names, labelled: Arc::default() }) }
    }

    /// Shows and reloads the layer's settings.
    #[must_use]
    pub fn handle(&self) -> DegradationHeaderHandle {
        DegradationHeaderHandle::new(Arc::clone(&self.state.settings), Arc::clone(&self.state.labelled))
    }
}

impl<S> Layer<S> for DegradationHeaderLayer {
    type Service = DegradationHeader<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DegradationHeader::new(inner, Arc::clone(&self.state))
    }
}
