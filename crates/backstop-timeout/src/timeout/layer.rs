//! The layer.

use std::{fmt, marker::PhantomData};

use backstop_core::Rejection;
use backstop_kit::{HttpReject, RejectAsError, RejectWith, UntilHeaders};
use tower_layer::Layer;

use super::{service::Timeout, upload::Begins};
use crate::settings::Settings;

/// Ends calls that take too long. See the [crate docs](crate#the-timeout).
///
/// `J` is how it rejects such a call, see [`Reject`](backstop_kit::Reject); `O` is how much of a response it
/// [covers](crate::Cover).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct TimeoutLayer<J = HttpReject, O = UntilHeaders> {
    settings: Settings<J>,
    begins: Begins,
    cover: PhantomData<fn() -> O>,
}

impl<J, O> TimeoutLayer<J, O> {
    pub(crate) const fn with(settings: Settings<J>, begins: Begins) -> Self {
        Self { settings, begins, cover: PhantomData }
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> TimeoutLayer<RejectAsError, O> {
        self.rejecting(RejectAsError::new())
    }

    /// Rejects with the result of `make`, of the service's own types, for each [`Rejection`](crate::Rejection).
    pub fn reject_with<F, Res, E>(self, make: F) -> TimeoutLayer<RejectWith<F>, O>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.rejecting(RejectWith::new(make))
    }

    fn rejecting<J2>(self, reject: J2) -> TimeoutLayer<J2, O> {
        let Settings { name, limit, .. } = self.settings;
        TimeoutLayer::with(Settings { name, limit, reject }, self.begins)
    }
}

impl<J: Clone, O> Clone for TimeoutLayer<J, O> {
    fn clone(&self) -> Self {
        Self::with(self.settings.clone(), self.begins)
    }
}

impl<J, O> fmt::Debug for TimeoutLayer<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(&mut f.debug_struct("TimeoutLayer")).finish_non_exhaustive()
    }
}

impl<S, J: Clone, O> Layer<S> for TimeoutLayer<J, O> {
    type Service = Timeout<S, J, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.settings.clone(), self.begins)
    }
}
