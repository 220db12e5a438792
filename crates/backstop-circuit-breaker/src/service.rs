//! The service.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Classify, ErrorRef, HttpClassify, judge_error};
use backstop_kit::{
    HttpReject, Reject, UntilHeaders,
    proof::{self, Entered},
};
use tower_service::Service;

use crate::{
    CircuitBreakerFuture, Observe,
    breaker::time_left,
    layer_state::{CircuitRef, LayerState},
    state::Refused,
    tracked_call::TrackedCall,
};

/// The service that [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) makes.
pub struct CircuitBreaker<S, C = HttpClassify, J = HttpReject, O = UntilHeaders, L = Arc<LayerState<C, J>>> {
    inner: S,
    /// What the next call is told: the circuit refused when it was asked for readiness, so that the inner service
    /// wasn't asked, and mustn't be called, whatever has become of the circuit since.
    refused: Option<Refused>,
    circuit: L,
    strategies: PhantomData<fn() -> (C, J)>,
    observe: PhantomData<fn() -> O>,
}

impl<S, C, J, O, L> CircuitBreaker<S, C, J, O, L> {
    pub(crate) const fn new(inner: S, circuit: L) -> Self {
        Self { inner, refused: None, circuit, strategies: PhantomData, observe: PhantomData }
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

impl<S, C, J, O, L, Req> Service<Req> for CircuitBreaker<S, C, J, O, L>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J, L>,
    L: CircuitRef<C, J>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S, Req, C, J, O, L>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let breaker = self.circuit.breaker();
        self.refused = breaker.would_refuse();
        if self.refused.is_some() {
            return Poll::Ready(Ok(()));
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if let Err(error) = &ready {
            let error = ErrorRef::new(error);
            breaker.record_without_call(judge_error(self.circuit.classify(), error), error);
        }
        Poll::Ready(ready)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let circuit = self.circuit.clone();
        let breaker = circuit.breaker();
        // Asked again where the inner service is ready: meanwhile others may have tripped the circuit, or taken the
        // last probe's permit.
        let admitted = match self.refused.take() {
            Some(refused) => Err(refused),
            None => breaker.circuit.admit(|| breaker.now(), time_left),
        };
        match admitted {
            Ok(admission) => {
                let context = circuit.reject().context(&request);
                let call = |request| proof::pass_through(|| self.inner.call(request));
                CircuitBreakerFuture::called(TrackedCall::new(admission), context, circuit, request, call)
            }
            Err(refused) => {
                let context = circuit.reject().context(&request);
                CircuitBreakerFuture::refused(refused, context, circuit, Entered::now())
            }
        }
    }
}

/// A clone asks for readiness itself.
impl<S: Clone, C, J, O, L: Clone> Clone for CircuitBreaker<S, C, J, O, L> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone())
    }
}

impl<S: fmt::Debug, C, J, O, L: CircuitRef<C, J>> fmt::Debug for CircuitBreaker<S, C, J, O, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreaker");
        f.field("inner", &self.inner);
        self.circuit.breaker().debug(f)
    }
}
