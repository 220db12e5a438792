//! The service.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{CopyRequest, Http, Judge, KeepAnswer, Protocol, Reject};
use tower_service::Service;

use crate::{FallbackFuture, policy::Policy};

/// The service that [`FallbackLayer`](crate::FallbackLayer) makes.
///
/// It is always ready. A primary that isn't is one more failure for the chain to handle, within its time.
pub struct Fallback<S, Req, Res, P = Http> {
    inner: S,
    /// Whether the primary is ready for the next call.
    is_ready: bool,
    policy: Arc<Policy<Req, Res, P>>,
}

impl<S, Req, Res, P> Fallback<S, Req, Res, P> {
    pub(crate) const fn new(inner: S, policy: Arc<Policy<Req, Res, P>>) -> Self {
        Self { inner, is_ready: false, policy }
    }

    /// The inner service.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The inner service.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, Req, P> Service<Req> for Fallback<S, Req, S::Response, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FallbackFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.is_ready = matches!(self.inner.poll_ready(cx), Poll::Ready(Ok(())));
        if !self.is_ready {
            // It may hold a queue slot now, or be broken. A clone is made ready in the call, where the chain can step in.
            self.inner = self.inner.clone();
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let is_ready = mem::take(&mut self.is_ready);
        FallbackFuture::new(&self.policy, &mut self.inner, is_ready, request)
    }
}

impl<S: Clone, Req, Res, P> Clone for Fallback<S, Req, Res, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.policy))
    }
}

impl<S: fmt::Debug, Req, Res, P> fmt::Debug for Fallback<S, Req, Res, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Fallback");
        f.field("inner", &self.inner);
        self.policy.debug(&mut f)
    }
}
