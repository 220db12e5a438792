//! The service.

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use backstop_kit::{CopyRequest, Judge, JudgeRequest, KeepAnswer, Protocol, Readiness, Reject};
use tower_service::Service;

use crate::{FallbackFuture, FallbackLayer};

/// The service that a [`FallbackLayer`], `L`, makes.
///
/// It is always ready. A primary that isn't is one more failure for the chain to handle, within its time.
pub struct Fallback<S, L> {
    inner: S,
    readiness: Readiness,
    layer: L,
}

impl<S, L> Fallback<S, L> {
    pub(crate) const fn new(inner: S, layer: L) -> Self {
        Self { inner, readiness: Readiness::NotReady, layer }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, Req, P> Service<Req> for Fallback<S, FallbackLayer<Req, S::Response, P>>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: JudgeRequest<Req> + Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FallbackFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.readiness = Readiness::from(&self.inner.poll_ready(cx));
        if self.readiness == Readiness::NotReady {
            // It may hold a queue slot now, or be broken. A clone is made ready in the call, where the chain can step in.
            self.inner = self.inner.clone();
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let readiness = mem::take(&mut self.readiness);
        FallbackFuture::new(&self.layer.state, &mut self.inner, readiness, request)
    }
}

/// A clone isn't ready.
impl<S: Clone, L: Clone> Clone for Fallback<S, L> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S: fmt::Debug, L: fmt::Debug> fmt::Debug for Fallback<S, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { inner, layer, .. } = self;
        f.debug_struct("Fallback").field("inner", inner).field("layer", layer).finish_non_exhaustive()
    }
}
