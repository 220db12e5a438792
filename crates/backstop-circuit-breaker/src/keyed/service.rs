//! The service.

use std::{
    fmt,
    hash::Hash,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{Classify, HttpClassify};
use backstop_kit::{HttpReject, Reject, UntilHeaders};
use tower_service::Service;

use super::{KeyedBreaker, KeyedCircuitBreakerFuture, breaker_map::BreakerMap};
use crate::{CircuitBreaker, Observe, telemetry};

/// The service that [`KeyedCircuitBreakerLayer`](crate::KeyedCircuitBreakerLayer) makes.
pub struct KeyedCircuitBreaker<S, K, F, C = HttpClassify, J = HttpReject, O = UntilHeaders> {
    inner: S,
    circuits: Arc<BreakerMap<K, C, J>>,
    key: Arc<F>,
    observe: PhantomData<fn() -> O>,
}

impl<S, K, F, C, J, O> KeyedCircuitBreaker<S, K, F, C, J, O> {
    pub(super) const fn new(inner: S, circuits: Arc<BreakerMap<K, C, J>>, key: Arc<F>) -> Self {
        Self { inner, circuits, key, observe: PhantomData }
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

impl<S, K, F, C, J, O, Req> Service<Req> for KeyedCircuitBreaker<S, K, F, C, J, O>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    K: Eq + Hash,
    F: Fn(&Req) -> K,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J, Arc<KeyedBreaker<C, J>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = KeyedCircuitBreakerFuture<S, Req, C, J, O>;

    /// Always ready: which circuit, and whether it refuses, is known only in `call`.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // A clone, made ready by its own future: nobody has made the one that is kept ready.
        let service = self.inner.clone();
        match self.circuits.circuit((self.key)(&request)) {
            Some(breaker) => KeyedCircuitBreakerFuture::guarded(CircuitBreaker::new(service, breaker), request),
            None => {
                telemetry::unguarded(self.circuits.group().name());
                KeyedCircuitBreakerFuture::unguarded(service, request)
            }
        }
    }
}

impl<S: Clone, K, F, C, J, O> Clone for KeyedCircuitBreaker<S, K, F, C, J, O> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.circuits), Arc::clone(&self.key))
    }
}

impl<S: fmt::Debug, K, F, C, J, O> fmt::Debug for KeyedCircuitBreaker<S, K, F, C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("KeyedCircuitBreaker");
        f.field("inner", &self.inner).field("circuits", &self.circuits).finish()
    }
}
