//! The service.

use std::{
    fmt,
    marker::PhantomData,
    mem,
    sync::Arc,
    task::{Context, Poll},
};

use tower_service::Service;

use crate::{FaultFuture, HttpFaults, MakeFault, injector::Injector};

/// The service that [`FaultLayer`](crate::FaultLayer) makes.
///
/// It is ready when the inner service is. A call that is hit keeps the inner service that was ready, and its request, until it is made:
/// so the inner service must be `Clone`, and the future is `Send` only if the service and the request are.
pub struct FaultService<S, F = HttpFaults> {
    inner: S,
    injector: Arc<Injector>,
    faults: PhantomData<fn() -> F>,
}

impl<S, F> FaultService<S, F> {
    pub(crate) const fn new(inner: S, injector: Arc<Injector>) -> Self {
        Self { inner, injector, faults: PhantomData }
    }

    backstop_kit::define_inner_service_accessors!();

    #[cold]
    fn call_while_running<Req>(&mut self, request: Req) -> FaultFuture<S, Req, F>
    where
        S: Service<Req> + Clone,
        F: MakeFault<Req, S::Response, S::Error>,
    {
        match self.injector.decide(F::view(&request).as_ref()) {
            None => FaultFuture::made(self.inner.call(request)),
            Some(hit) => {
                let clone = self.inner.clone();
                let service = mem::replace(&mut self.inner, clone);
                FaultFuture::hit(&self.injector, hit, service, request)
            }
        }
    }
}

impl<S, F, Req> Service<Req> for FaultService<S, F>
where
    S: Service<Req> + Clone,
    F: MakeFault<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FaultFuture<S, Req, F>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    // Not `#[inline]`: inlined before it is optimised, it would move the request once more.
    fn call(&mut self, request: Req) -> Self::Future {
        if self.injector.is_running() {
            return self.call_while_running(request);
        }
        FaultFuture::made(self.inner.call(request))
    }
}

impl<S: Clone, F> Clone for FaultService<S, F> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.injector))
    }
}

impl<S: fmt::Debug, F> fmt::Debug for FaultService<S, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultService")
            .field("inner", &self.inner)
            .field("injector", &self.injector)
            .finish_non_exhaustive()
    }
}
