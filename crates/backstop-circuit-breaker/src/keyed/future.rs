//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Classify, Reject};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{CircuitBreaker, CircuitBreakerFuture, Observe, UntilHeaders};

pin_project! {
    /// The response future of [`KeyedCircuitBreaker`](crate::KeyedCircuitBreaker).
    ///
    /// # Cancellation
    /// As of [`CircuitBreakerFuture`]. Dropped before the inner service is ready, it counts as nothing.
    #[must_use = "futures do nothing unless polled"]
    pub struct KeyedCircuitBreakerFuture<S, Req, C, J, O = UntilHeaders>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<CircuitBreaker<S, C, J, O>, CircuitBreakerFuture<S, Req, C, J, O>, S, S::Future, Req>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<G, A, S, B, Req> {
        // A request is `None` once it was given away.
        Guarded { service: G, request: Option<Req> },
        GuardedCall { #[pin] future: A },
        Unguarded { service: S, request: Option<Req> },
        UnguardedCall { #[pin] future: B },
    }
}

impl<S, Req, C, J, O> KeyedCircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    pub(super) const fn guarded(service: CircuitBreaker<S, C, J, O>, request: Req) -> Self {
        Self { state: State::Guarded { service, request: Some(request) } }
    }

    pub(super) const fn unguarded(service: S, request: Req) -> Self {
        Self { state: State::Unguarded { service, request: Some(request) } }
    }
}

impl<S, Req, C, J, O> Future for KeyedCircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut state = self.as_mut().project().state;
            let next = match state.as_mut().project() {
                StateProject::Guarded { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    State::GuardedCall { future: service.call(request) }
                }
                StateProject::Unguarded { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let Some(request) = request.take() else {
                        return Poll::Pending;
                    };
                    State::UnguardedCall { future: service.call(request) }
                }
                StateProject::GuardedCall { future } => return future.poll(cx),
                StateProject::UnguardedCall { future } => return future.poll(cx),
            };
            state.set(next);
        }
    }
}

impl<S, Req, C, J, O> fmt::Debug for KeyedCircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Guarded { .. } | State::Unguarded { .. } => "not ready",
            State::GuardedCall { .. } | State::UnguardedCall { .. } => "called",
        };
        f.debug_struct("KeyedCircuitBreakerFuture").field("state", &state).finish_non_exhaustive()
    }
}
