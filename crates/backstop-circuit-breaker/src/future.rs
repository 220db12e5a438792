//! The response future.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{CircuitState, Classify, ErrorRef, Reject, Rejection, RejectionKind};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Observe, UntilHeaders, breaker::Permit, held::Held, layer::Shared, metrics::FailureReason, state::Refused,
    telemetry,
};

/// What a caller is told to wait where a probe is under way, whose result nobody knows.
const HALF_OPEN_RETRY_AFTER: Duration = Duration::from_secs(1);

pin_project! {
    /// The response future of [`CircuitBreaker`](crate::CircuitBreaker).
    ///
    /// # Cancellation
    /// Dropping it drops the call and gives its permit back. What the call then counts as is said
    /// [here](crate#cancellation).
    #[must_use = "futures do nothing unless polled"]
    pub struct CircuitBreakerFuture<S, Req, C, J, O = UntilHeaders>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S::Future, J::Context, C, J>,
        observe: PhantomData<fn() -> O>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, X, C, J> {
        Called { #[pin] future: F, held: Held<C, J> },
        // The context is `None` once it was given to the strategy.
        Refused { refused: Refused, context: Option<X>, shared: Arc<Shared<C, J>> },
    }
}

impl<S, Req, C, J, O> CircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) fn called(permit: Permit, shared: Arc<Shared<C, J>>, call: impl FnOnce() -> S::Future) -> Self {
        // Made before the call, which may panic.
        let mut held = Held::new(permit, shared);
        let future = held.run(call);
        Self { state: State::Called { future, held }, observe: PhantomData }
    }

    pub(crate) const fn refused(refused: Refused, context: J::Context, shared: Arc<Shared<C, J>>) -> Self {
        Self { state: State::Refused { refused, context: Some(context), shared }, observe: PhantomData }
    }
}

impl<S, Req, C, J, O> Future for CircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Called { future, held } => {
                let Poll::Ready(result) = held.run(|| future.poll(cx)) else {
                    held.start_waiting();
                    return Poll::Pending;
                };
                let outcome = held.shared().classify.classify(result.as_ref().map_err(ErrorRef::new));
                Poll::Ready(match result {
                    Ok(response) => Ok(O::hand_over(held, outcome, response)),
                    Err(error) => {
                        held.finish(outcome, FailureReason::Error);
                        Err(error)
                    }
                })
            }
            StateProject::Refused { refused, context, shared } => {
                let Some(context) = context.take() else {
                    return Poll::Pending;
                };
                Poll::Ready(shared.reject.reject(context, rejection(*refused, shared)))
            }
        }
    }
}

fn rejection<C, J>(refused: Refused, shared: &Shared<C, J>) -> Rejection {
    let name = shared.breaker.name();
    let Refused { state, wait } = refused;
    let retry_after = match state {
        CircuitState::Open => Some(shared.breaker.retry_after(wait)),
        CircuitState::HalfOpen => Some(HALF_OPEN_RETRY_AFTER),
        // Nobody knows for how long.
        _ => None,
    };
    telemetry::refused(name, state, retry_after);
    Rejection::new(name.clone(), RejectionKind::CircuitOpen(state)).with_retry_after(retry_after)
}

impl<S, Req, C, J, O> fmt::Debug for CircuitBreakerFuture<S, Req, C, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreakerFuture");
        match &self.state {
            State::Called { held, .. } => held.shared().debug(f),
            State::Refused { refused, shared, .. } => {
                f.field("refused", &refused.state);
                shared.debug(f)
            }
        }
    }
}
