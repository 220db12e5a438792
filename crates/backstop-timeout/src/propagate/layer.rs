//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::HttpReject;
use tower_layer::Layer;

use super::{propagation::Propagation, service::PropagateDeadline};

/// Sends the time that is left until the deadline with each request. See the [crate docs](crate#sending-it-on).
///
/// Put it around a `Buffer`, not inside: inside, it doesn't know the caller's deadline and doesn't send it.
///
/// `J` is how it rejects a call for which too little time is left, see [`Reject`](backstop_kit::Reject).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PropagateDeadlineLayer<J = HttpReject> {
    propagation: Arc<Propagation<J>>,
}

impl<J> PropagateDeadlineLayer<J> {
    pub(crate) fn with(propagation: Propagation<J>) -> Self {
        Self { propagation: Arc::new(propagation) }
    }
}

impl<J> Clone for PropagateDeadlineLayer<J> {
    fn clone(&self) -> Self {
        Self { propagation: Arc::clone(&self.propagation) }
    }
}

impl<J> fmt::Debug for PropagateDeadlineLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.propagation.debug(&mut f.debug_struct("PropagateDeadlineLayer"))
    }
}

impl<S, J> Layer<S> for PropagateDeadlineLayer<J> {
    type Service = PropagateDeadline<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateDeadline::new(inner, Arc::clone(&self.propagation))
    }
}
