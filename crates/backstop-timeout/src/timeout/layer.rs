//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::{Http, HttpReject, Plain, RejectAsError, UntilHeaders};
use tower_layer::Layer;

use super::{handle::TimeoutHandle, layer_state::TimeoutState, service::Timeout};

/// For HTTP and gRPC. A timeout doesn't classify, copy or keep anything.
pub type HttpStrategies<R = HttpReject, U = UntilHeaders> = Http<(), R, U, (), ()>;

/// For functions, and services of any other type.
pub type PlainStrategies<R = RejectAsError, U = UntilHeaders> = Plain<(), R, U, (), ()>;

/// Ends calls that take too long. See the [crate docs](crate#the-timeout).
///
/// `P` is how it watches requests, rejects calls and how much of a response it [covers](crate::Cover): see
/// [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct TimeoutLayer<P = HttpStrategies> {
    settings: TimeoutState<P>,
}

impl<P> TimeoutLayer<P> {
    pub(crate) const fn with(settings: TimeoutState<P>) -> Self {
        Self { settings }
    }

    /// Shows and reloads the limit, and calls functions within it.
    #[must_use]
    pub fn handle(&self) -> TimeoutHandle {
        TimeoutHandle::new(self.settings.name.clone(), Arc::clone(&self.settings.limit))
    }
}

impl<P: Clone> Clone for TimeoutLayer<P> {
    fn clone(&self) -> Self {
        Self::with(self.settings.clone())
    }
}

impl<P> fmt::Debug for TimeoutLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(&mut f.debug_struct("TimeoutLayer")).finish_non_exhaustive()
    }
}

impl<S, P: Clone> Layer<S> for TimeoutLayer<P> {
    type Service = Timeout<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.settings.clone())
    }
}
