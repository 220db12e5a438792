//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::Http;
use tower_layer::Layer;

use crate::{Fallback, FallbackHandle, layer_state::LayerState};

/// Answers with the next best source when the wrapped service fails. See the [crate docs](crate).
///
/// The wrapped service is the chain's primary, its provider 0. `P` is how the layer handles requests and answers: see
/// [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FallbackLayer<Req, Res, P = Http> {
    pub(crate) state: Arc<LayerState<Req, Res, P>>,
}

impl<Req, Res, P> FallbackLayer<Req, Res, P> {
    pub(crate) fn with(state: LayerState<Req, Res, P>) -> Self {
        Self { state: Arc::new(state) }
    }

    /// The chain's handle.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        self.state.chain.handle().behind(&self.state.primary)
    }
}

impl<S, Req, Res, P> Layer<S> for FallbackLayer<Req, Res, P> {
    type Service = Fallback<S, Self>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(inner, self.clone())
    }
}

impl<Req, Res, P> Clone for FallbackLayer<Req, Res, P> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<Req, Res, P> fmt::Debug for FallbackLayer<Req, Res, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.debug(&mut f.debug_struct("FallbackLayer"))
    }
}
