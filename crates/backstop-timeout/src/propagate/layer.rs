//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::HttpReject;
use tower_layer::Layer;

use super::{handle::PropagateDeadlineHandle, propagation::Propagation, service::PropagateDeadline};

/// Sends the time that is left until the deadline with each request. See the [crate docs](crate#sending-it-on).
///
/// Put it around a `Buffer`, not inside: there it doesn't know the caller's deadline, and can't send it.
///
/// `R` is how it rejects a call if too little time is left: see [`Reject`](backstop_kit::Reject).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PropagateDeadlineLayer<R = HttpReject> {
    propagation: Arc<Propagation<R>>,
}

impl<R> PropagateDeadlineLayer<R> {
    pub(crate) fn with(propagation: Propagation<R>) -> Self {
        Self { propagation: Arc::new(propagation) }
    }

    /// A handle that shows and reloads the settings.
    #[must_use]
    pub fn handle(&self) -> PropagateDeadlineHandle {
        PropagateDeadlineHandle::new(self.propagation.name.clone(), Arc::clone(&self.propagation.sent))
    }
}

impl<R> Clone for PropagateDeadlineLayer<R> {
    fn clone(&self) -> Self {
        Self { propagation: Arc::clone(&self.propagation) }
    }
}

impl<R> fmt::Debug for PropagateDeadlineLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.propagation.debug(&mut f.debug_struct("PropagateDeadlineLayer"))
    }
}

impl<S, R> Layer<S> for PropagateDeadlineLayer<R> {
    type Service = PropagateDeadline<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateDeadline::new(inner, Arc::clone(&self.propagation))
    }
}
