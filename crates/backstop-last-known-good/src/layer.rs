//! The layer.

use std::{fmt, sync::Arc};

use tower_layer::Layer;

use crate::{LastKnownGood, LastKnownGoodHandle, MokaStore, layer_state::LayerState};

/// Stores good answers, to be served when the service fails. See the [crate docs](crate).
///
/// `St` is the [`Store`](crate::Store).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct LastKnownGoodLayer<St = MokaStore> {
    shared: Arc<LayerState<St>>,
}

impl<St> LastKnownGoodLayer<St> {
    pub(crate) fn with(shared: LayerState<St>) -> Self {
        Self { shared: Arc::new(shared) }
    }
}

impl<St: crate::Store> LastKnownGoodLayer<St> {
    /// A handle that finds and removes stored answers.
    #[must_use]
    pub fn handle(&self) -> LastKnownGoodHandle<St> {
        LastKnownGoodHandle::new(Arc::clone(&self.shared))
    }
}

impl<St> Clone for LastKnownGoodLayer<St> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<St> fmt::Debug for LastKnownGoodLayer<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("LastKnownGoodLayer"))
    }
}

impl<S, St> Layer<S> for LastKnownGoodLayer<St> {
    type Service = LastKnownGood<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGood::new(inner, Arc::clone(&self.shared))
    }
}
