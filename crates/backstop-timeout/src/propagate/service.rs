//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{HttpReject, Reject, SetBy, proof, scope};
use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use super::{future::PropagateDeadlineFuture, layer::Shared};

/// The service that [`PropagateDeadlineLayer`](crate::PropagateDeadlineLayer) makes.
pub struct PropagateDeadline<S, J = HttpReject> {
    inner: S,
    shared: Arc<Shared<J>>,
}

impl<S, J> PropagateDeadline<S, J> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<J>>) -> Self {
        Self { inner, shared }
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

impl<S, J, B, ResBody> Service<Request<B>> for PropagateDeadline<S, J>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    J: Reject<Request<B>, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PropagateDeadlineFuture<S, Request<B>, J>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let Some(deadline) = scope::deadline() else {
            return PropagateDeadlineFuture::unlimited(proof::pass_through(|| self.inner.call(request)));
        };
        let shared = Arc::clone(&self.shared);
        let context = shared.reject.context(&request);
        let Some(told) = shared.tell(&mut request, deadline.left()) else {
            return PropagateDeadlineFuture::refused(deadline.set_by(), context, shared);
        };
        // Before the call: whoever was told counts from then on at the earliest.
        let callers_limit = (deadline.set_by() == SetBy::Caller).then(|| Instant::now() + told);
        let call = proof::pass_through(|| self.inner.call(request));
        PropagateDeadlineFuture::told(callers_limit, call, context, shared)
    }
}

impl<S: Clone, J> Clone for PropagateDeadline<S, J> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, J> fmt::Debug for PropagateDeadline<S, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("PropagateDeadline").field("inner", &self.inner))
    }
}
