//! The service.

use std::{
    fmt,
    marker::PhantomData,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{HttpReject, Reject, UntilBodyEnd, proof::PassThrough};
use tower_service::Service;

use crate::{BulkheadFuture, Until, layer_state::LayerState, permit::Permit};

/// The service that [`BulkheadLayer`](crate::BulkheadLayer) makes.
pub struct Bulkhead<S, R = HttpReject, U = UntilBodyEnd> {
    inner: S,
    /// Whether the inner service is ready, so that `call` may call it directly.
    is_ready: bool,
    state: Arc<LayerState<R>>,
    until: PhantomData<fn() -> U>,
}

impl<S, R, U> Bulkhead<S, R, U> {
    pub(crate) const fn new(inner: S, state: Arc<LayerState<R>>) -> Self {
        Self { inner, is_ready: false, state, until: PhantomData }
    }

    backstop_kit::define_inner_service_accessors!();

    /// Takes a permit, if the inner service is ready and there is room.
    #[inline]
    fn take_permit(&mut self) -> Option<Permit> {
        if !self.is_ready {
            return None;
        }
        let permit = Permit::try_acquire(&self.state.limiter)?;
        self.is_ready = false;
        Some(permit)
    }

    /// The call without a permit, or of an inner service that isn't ready.
    #[cold]
    fn enter<Req>(&mut self, request: Req) -> BulkheadFuture<S, Req, R, U>
    where
        S: Service<Req> + Clone,
        R: Reject<Req, S::Response, S::Error>,
    {
        let service = self.inner.clone();
        if mem::take(&mut self.is_ready) {
            // Another call has taken the last permit. Replace the ready service, since others may need what it has reserved.
            self.inner = service.clone();
        }
        BulkheadFuture::entering(service, request, Arc::clone(&self.state))
    }
}

impl<S, R, U, Req> Service<Req> for Bulkhead<S, R, U>
where
    S: Service<Req> + Clone,
    R: Reject<Req, S::Response, S::Error>,
    U: Until<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<S, Req, R, U>;

    /// Always ready, unless the inner service fails. The response future waits for a permit and for the inner service, for a
    /// limited time.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        // Also if the inner service fails.
        self.is_ready = false;
        if self.state.limiter.permits().has_room() {
            self.is_ready = self.inner.poll_ready(cx)?.is_ready();
            if !self.is_ready {
                // It may now hold a place in its own queue, without a permit of ours. A clone doesn't.
                self.inner = self.inner.clone();
            }
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.take_permit() {
            Some(permit) => {
                let call = {
                    let _pass = PassThrough::begin();
                    self.inner.call(request)
                };
                BulkheadFuture::called(call, permit)
            }
            None => self.enter(request),
        }
    }
}

/// A clone isn't ready.
impl<S: Clone, R, U> Clone for Bulkhead<S, R, U> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.state))
    }
}

impl<S: fmt::Debug, R, U> fmt::Debug for Bulkhead<S, R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("limiter", &self.state.limiter)
            .finish_non_exhaustive()
    }
}
