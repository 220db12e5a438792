//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::Http;
use tower_layer::Layer;

use crate::{Retry, RetryHandle, layer_state::LayerState};

/// Repeats failed requests where repeating is safe. See the [crate docs](crate).
///
/// `P` is how it handles requests and answers: see [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<P = Http> {
    state: Arc<LayerState<P>>,
}

impl<P> RetryLayer<P> {
    pub(crate) fn with(state: LayerState<P>) -> Self {
        Self { state: Arc::new(state) }
    }

    /// A handle to what all services of this layer share.
    ///
    /// ```
    /// use backstop_retry::{RetryLayer, name};
    ///
    /// let retry = RetryLayer::new(name!("ml_service"));
    /// assert_eq!(retry.handle().budget().map(|budget| budget.available()), Some(200));
    /// ```
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(Arc::clone(&self.state.retry))
    }
}

impl<P> Clone for RetryLayer<P> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<P> fmt::Debug for RetryLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.retry.debug(f.debug_struct("RetryLayer"))
    }
}

impl<S, P> Layer<S> for RetryLayer<P> {
    type Service = Retry<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.state))
    }
}
