//! The service.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Classify, ErrorRef, HttpClassify, HttpReject, Reject};
use tower_service::Service;

use crate::{CircuitBreakerFuture, Observe, UntilHeaders, breaker::Permit, layer::Shared, state::Refused};

/// The service that [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) makes.
pub struct CircuitBreaker<S, C = HttpClassify, J = HttpReject, O = UntilHeaders> {
    inner: S,
    /// What the next call is told: the circuit refused when it was asked for readiness, so that the inner service
    /// wasn't asked, and mustn't be called, whatever has become of the circuit since.
    refused: Option<Refused>,
    shared: Arc<Shared<C, J>>,
    observe: PhantomData<fn() -> O>,
}

impl<S, C, J, O> CircuitBreaker<S, C, J, O> {
    pub(crate) const fn new(inner: S, shared: Arc<Shared<C, J>>) -> Self {
        Self { inner, refused: None, shared, observe: PhantomData }
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

impl<S, C, J, O, Req> Service<Req> for CircuitBreaker<S, C, J, O>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S, Req, C, J, O>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let Shared { breaker, classify, .. } = &*self.shared;
        self.refused = breaker.would_refuse();
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if let Err(error) = &ready {
            breaker.record_without_call(classify.classify(Err(ErrorRef::new(error))));
        }
        Poll::Ready(ready)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let shared = Arc::clone(&self.shared);
        let breaker = &shared.breaker;
        // Asked again where the inner service is ready: meanwhile others may have tripped the circuit, or taken the
        // last probe's permit.
        let admitted = match self.refused.take() {
            Some(refused) => Err(refused),
            None => breaker.circuit.admit(|| breaker.now()),
        };
        match admitted {
            Ok(admission) => CircuitBreakerFuture::called(Permit::new(admission), shared, || self.inner.call(request)),
            Err(refused) => {
                let context = shared.reject.context(&request);
                CircuitBreakerFuture::refused(refused, context, shared)
            }
        }
    }
}

/// A clone asks for readiness itself.
impl<S: Clone, C, J, O> Clone for CircuitBreaker<S, C, J, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.shared))
    }
}

impl<S: fmt::Debug, C, J, O> fmt::Debug for CircuitBreaker<S, C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreaker");
        f.field("inner", &self.inner);
        self.shared.debug(f)
    }
}
