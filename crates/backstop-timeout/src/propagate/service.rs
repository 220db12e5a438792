//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::scope::{self, CurrentLimit};
use backstop_kit::{
    HttpReject, Reject,
    proof::{self, PassThrough},
};
use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use super::{
    future::{PropagateDeadlineFuture, ReceiverDeadline},
    propagation::{Propagation, ReceiverLimit},
};

/// The service that [`PropagateDeadlineLayer`](crate::PropagateDeadlineLayer) makes.
pub struct PropagateDeadline<S, R = HttpReject> {
    inner: S,
    propagation: Arc<Propagation<R>>,
}

impl<S, R> PropagateDeadline<S, R> {
    pub(crate) const fn new(inner: S, propagation: Arc<Propagation<R>>) -> Self {
        Self { inner, propagation }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, R, B, ResBody> Service<Request<B>> for PropagateDeadline<S, R>
where
    S: Service<Request<B>, Response = Response<ResBody>>,
    R: Reject<Request<B>, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = PropagateDeadlineFuture<S, Request<B>, R>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // Asking for the deadline would start the limit, which reads the clock.
        if let CurrentLimit::NotBegun(limit) = scope::limit()
            && self.propagation.can_ignore(limit, &request)
        {
            let _pass = PassThrough::begin();
            return PropagateDeadlineFuture::unlimited(self.inner.call(request));
        }
        let deadline = scope::deadline();
        let sent = match deadline {
            Some(deadline) => self.propagation.write(&mut request, deadline),
            None => self.propagation.read(&request),
        };
        let rejects = |request: &_| (self.propagation.reject.context(request), Arc::clone(&self.propagation));
        match (sent, deadline) {
            (Some(sent), _) => {
                let rejects = rejects(&request);
                // Before the call, because the next service can't start earlier.
                let ReceiverLimit { limit, set_by, is_told } = sent;
                let limit = ReceiverDeadline { at: Instant::now() + limit, set_by, is_told };
                let call = proof::pass_through(|| self.inner.call(request));
                PropagateDeadlineFuture::limited(limit, call, rejects)
            }
            (None, Some(deadline)) => PropagateDeadlineFuture::refused(deadline.set_by(), rejects(&request)),
            (None, None) => {
                let _pass = PassThrough::begin();
                PropagateDeadlineFuture::unlimited(self.inner.call(request))
            }
        }
    }
}

impl<S: Clone, R> Clone for PropagateDeadline<S, R> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.propagation))
    }
}

impl<S: fmt::Debug, R> fmt::Debug for PropagateDeadline<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.propagation.debug(f.debug_struct("PropagateDeadline").field("inner", &self.inner))
    }
}
