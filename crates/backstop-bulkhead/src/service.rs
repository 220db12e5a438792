//! The service.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{HttpReject, Reject};
use tower_service::Service;

use crate::{BulkheadFuture, Until, UntilBodyEnd, layer::Shared};

/// The service that [`BulkheadLayer`](crate::BulkheadLayer) makes.
pub struct Bulkhead<S, J = HttpReject, O = UntilBodyEnd> {
    inner: S,
    shared: Arc<Shared<J>>,
    until: PhantomData<fn() -> O>,
}

impl<S, J, O> Bulkhead<S, J, O> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<J>>) -> Self {
        Self { inner, shared, until: PhantomData }
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

impl<S, J, O, Req> Service<Req> for Bulkhead<S, J, O>
where
    S: Service<Req> + Clone,
    J: Reject<Req, S::Response, S::Error>,
    O: Until<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BulkheadFuture<S, Req, J, O>;

    /// Always ready: whether there is room, and for whom first, is known only to the calls.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // A clone, made ready by its own future: nobody has made the one that is kept ready.
        BulkheadFuture::new(self.inner.clone(), request, Arc::clone(&self.shared))
    }
}

impl<S: Clone, J, O> Clone for Bulkhead<S, J, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, J, O> fmt::Debug for Bulkhead<S, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead").field("inner", &self.inner).field("room", &self.shared.room).finish_non_exhaustive()
    }
}
