//! The service.

use std::{
    hash::Hash,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{Judge, JudgeRequest, Protocol, Reject};
use tower_service::Service;

use super::{KeyedBreaker, KeyedCircuitBreakerFuture, KeyedCircuitBreakerLayer};
use crate::{CircuitBreaker, Observe};

/// The service that a [`KeyedCircuitBreakerLayer`], `L`, makes.
#[derive(Clone, Debug)]
pub struct KeyedCircuitBreaker<S, L> {
    inner: S,
    layer: L,
}

impl<S, L> KeyedCircuitBreaker<S, L> {
    pub(super) const fn new(inner: S, layer: L) -> Self {
        Self { inner, layer }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, K, F, P, Req> Service<Req> for KeyedCircuitBreaker<S, KeyedCircuitBreakerLayer<K, F, P>>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    K: Eq + Hash,
    F: Fn(&Req) -> K,
    P: Protocol,
    P::Judge: JudgeRequest<Req> + Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Observe<S::Response, P, Arc<KeyedBreaker<P>>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = KeyedCircuitBreakerFuture<S, Req, P>;

    /// Always ready: which circuit, and whether it refuses, is known only in `call`.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        // A clone, because the kept service was never made ready. The future makes the clone ready.
        let service = self.inner.clone();
        let KeyedCircuitBreakerLayer { circuits, key } = &self.layer;
        match circuits.circuit(key(&request)) {
            Some(breaker) => KeyedCircuitBreakerFuture::guarded(CircuitBreaker::new(service, breaker), request),
            None => KeyedCircuitBreakerFuture::unguarded(service, request),
        }
    }
}
