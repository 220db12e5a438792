//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_kit::{Call, Progress, Protocol, Reject, ServiceCall};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::KeyedBreaker;
use crate::CircuitBreaker;

type Guarded<S, P> = CircuitBreaker<S, P, Arc<KeyedBreaker<P>>>;

pin_project! {
    /// The response future of [`KeyedCircuitBreaker`](crate::KeyedCircuitBreaker).
    ///
    /// # Cancellation
    /// As for [`CircuitBreakerFuture`](crate::CircuitBreakerFuture). If it is dropped before the inner service is
    /// ready, nothing is counted.
    #[must_use = "futures do nothing unless polled"]
    pub struct KeyedCircuitBreakerFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        Guarded<S, P>: Service<Req>,
    {
        #[pin]
        state: State<ServiceCall<Guarded<S, P>, Req>, ServiceCall<S, Req>>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<G, F> {
        Guarded { #[pin] call: G },
        // There was no room for another circuit.
        Unguarded { #[pin] call: F },
    }
}

impl<S, Req, P> KeyedCircuitBreakerFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    Guarded<S, P>: Service<Req>,
{
    pub(super) fn guarded(service: Guarded<S, P>, request: Req) -> Self {
        Self { state: State::Guarded { call: ServiceCall::when_ready(service, request) } }
    }

    pub(super) fn unguarded(service: S, request: Req) -> Self {
        Self { state: State::Unguarded { call: ServiceCall::when_ready(service, request) } }
    }
}

impl<S, Req, P> Future for KeyedCircuitBreakerFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    Guarded<S, P>: Service<Req, Response = S::Response, Error = S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Guarded { call } => call.poll(cx),
            StateProject::Unguarded { call } => call.poll(cx),
        }
    }
}

impl<S, Req, P> fmt::Debug for KeyedCircuitBreakerFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    Guarded<S, P>: Service<Req>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let progress = match &self.state {
            State::Guarded { call } => call.progress(),
            State::Unguarded { call } => call.progress(),
        };
        let state = if progress == Progress::Called { "called" } else { "not ready" };
        f.debug_struct("KeyedCircuitBreakerFuture").field("state", &state).finish_non_exhaustive()
    }
}
