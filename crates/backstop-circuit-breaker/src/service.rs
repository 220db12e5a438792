//! The service.

use std::{
    fmt,
    marker::PhantomData,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::ErrorRef;
use backstop_kit::{Http, Judge, JudgeRequest, Protocol, Reject, RequestFacts, proof::PassThrough, queue::QueueWatch};
use tower_service::Service;

use crate::{
    CircuitBreakerFuture, Observe,
    call_guard::CallGuard,
    layer_state::{CircuitRef, LayerState},
    state::AskedAhead,
    tracked_call::TrackedCall,
};

/// The service that [`CircuitBreakerLayer`](crate::CircuitBreakerLayer) makes.
pub struct CircuitBreaker<S, P = Http, L = Arc<LayerState<P>>> {
    inner: S,
    /// Set if the circuit refused in `poll_ready`. The inner service wasn't polled then, so the next call must be refused, even
    /// if the circuit has changed since. In a ramp it is set in any case: each call takes its turn once, before it waits for
    /// the inner service.
    told: Option<AskedAhead>,
    circuit: L,
    protocol: PhantomData<fn() -> P>,
}

impl<S, P, L> CircuitBreaker<S, P, L> {
    pub(crate) const fn new(inner: S, circuit: L) -> Self {
        Self { inner, told: None, circuit, protocol: PhantomData }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, P, L, Req> Service<Req> for CircuitBreaker<S, P, L>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: JudgeRequest<Req> + Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Observe<S::Response, P, L>,
    L: CircuitRef<P>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = CircuitBreakerFuture<S, Req, P, L>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let breaker = self.circuit.breaker();
        if breaker.circuit.is_closed() {
            self.told = None;
        } else {
            self.told = breaker.ask_ahead(self.told);
            if self.told.as_ref().is_some_and(AskedAhead::is_refused) {
                return Poll::Ready(Ok(()));
            }
        }
        let ready = ready!(self.inner.poll_ready(cx));
        if let Err(error) = &ready {
            let error = ErrorRef::new(error);
            let outcome = self.circuit.protocol().judge().outcome(RequestFacts::none(), Err(error));
            breaker.record_without_call(self.told.take(), outcome, error);
        }
        Poll::Ready(ready)
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let breaker = self.circuit.breaker();
        // Asked again where the inner service is ready: meanwhile others may have tripped the circuit, or taken the
        // last probe's permit.
        match breaker.admit(self.told.take()) {
            Ok(admission) => {
                // Made before the call, which may panic.
                let mut guard = CallGuard::new(TrackedCall::new(admission), self.circuit.clone());
                let facts = guard.inspect_request(&mut request);
                let watch = QueueWatch::begin();
                let future = {
                    let _scopes = (guard.enter(), PassThrough::begin());
                    self.inner.call(request)
                };
                guard.leave();
                // Not in the argument list, where an unwinding call would make the guard move once more: 16 instructions.
                let queued = watch.queued_call();
                CircuitBreakerFuture::called(future, guard, facts, queued)
            }
            Err(refused) => CircuitBreakerFuture::refused(refused, &request, self.circuit.clone()),
        }
    }
}

/// A clone asks for readiness itself.
impl<S: Clone, P, L: Clone> Clone for CircuitBreaker<S, P, L> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.circuit.clone())
    }
}

impl<S: fmt::Debug, P, L: CircuitRef<P>> fmt::Debug for CircuitBreaker<S, P, L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreaker");
        f.field("inner", &self.inner);
        self.circuit.breaker().debug(f)
    }
}
