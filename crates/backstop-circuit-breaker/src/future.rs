//! The response future.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{
    CircuitState, Classify, ErrorRef, Reason, Reject, Rejection, RejectionKind, Verdict, grpc::GrpcCode, judge_error,
    polled_again, proof::Entered,
};
use http::StatusCode;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Observe, UntilHeaders,
    breaker::{Breaker, Permit},
    failure::Failure,
    held::{Held, Link},
    layer::Shared,
    probing,
    state::Refused,
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
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct CircuitBreakerFuture<S, Req, C, J, O = UntilHeaders, L = Arc<Shared<C, J>>>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        L: Link<C, J>,
    {
        #[pin]
        state: State<S::Future, J::Context, C, J, L>,
        observe: PhantomData<fn() -> O>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, X, C, J, L> where L: Link<C, J> {
        Called { #[pin] future: F, held: Held<C, J, L>, context: X },
        // The context is `None` once it was given to the strategy.
        Refused { refused: Refused, context: Option<X>, link: L, entered: Entered },
    }
}

impl<S, Req, C, J, O, L> CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    L: Link<C, J>,
{
    #[inline]
    pub(crate) fn called(
        permit: Permit,
        context: J::Context,
        link: L,
        mut request: Req,
        call: impl FnOnce(Req) -> S::Future,
    ) -> Self {
        // Made before the call, which may panic.
        let mut held = Held::new(permit, link);
        held.watch(&mut request);
        let future = held.run(|| call(request));
        Self { state: State::Called { future, held, context }, observe: PhantomData }
    }

    pub(crate) const fn refused(refused: Refused, context: J::Context, link: L, entered: Entered) -> Self {
        Self { state: State::Refused { refused, context: Some(context), link, entered }, observe: PhantomData }
    }
}

impl<S, Req, C, J, O, L> Future for CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J, L>,
    L: Link<C, J>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Called { future, held, context } => {
                let Poll::Ready(result) = held.run(|| future.poll(cx)) else {
                    held.start_waiting();
                    return Poll::Pending;
                };
                let (classify, reject) = (held.link().classify(), held.link().reject());
                let mut outcome = match &result {
                    Ok(response) => reject.judge(context, classify, response),
                    Err(error) => judge_error(classify, ErrorRef::new(error)),
                };
                match outcome.verdict {
                    Verdict::Success => {}
                    Verdict::Failure => {
                        outcome = held.judge_upload(outcome, is_unanswered(classify, &result));
                        if outcome.verdict == Verdict::Failure {
                            let failure = match &result {
                                Ok(response) => Failure::Response(reject.reason(context, classify, response)),
                                Err(error) => Failure::Error(ErrorRef::new(error)),
                            };
                            held.finish(outcome, failure);
                            return Poll::Ready(result);
                        }
                    }
                    Verdict::Neutral => {
                        let reason = match &result {
                            Ok(response) => reject.reason(context, classify, response),
                            Err(error) => classify.reason(Err(ErrorRef::new(error))),
                        };
                        outcome = outcome.or_unprocessed(is_refusal(reason));
                    }
                }
                Poll::Ready(match result {
                    Ok(response) => Ok(O::hand_over(held, outcome, response)),
                    Err(error) => {
                        held.finish_well(outcome);
                        Err(error)
                    }
                })
            }
            StateProject::Refused { refused, context, link, entered } => {
                let Some(context) = context.take() else { polled_again("CircuitBreakerFuture") };
                let answer = link.reject().reject(context, rejection(*refused, link.breaker()));
                entered.prove();
                Poll::Ready(answer)
            }
        }
    }
}

/// Whether a layer further in refused the call. Then the service wasn't asked, and the caller hasn't left.
#[cold]
fn is_refusal(reason: Reason) -> bool {
    matches!(reason, Reason::CircuitOpen | Reason::BulkheadFull)
}

/// Whether the service gave no answer of its own: an error, or a time limit that passed further in. Limits of ours have
/// looked at the request's body themselves.
fn is_unanswered<Res, E: 'static, C: Classify<Res>>(classify: &C, result: &Result<Res, E>) -> bool {
    match classify.reason(result.as_ref().map_err(ErrorRef::new)) {
        Reason::Timeout => false,
        Reason::Status(status) => status == StatusCode::GATEWAY_TIMEOUT,
        Reason::Grpc(code) => code == GrpcCode::DEADLINE_EXCEEDED,
        _ => result.is_err(),
    }
}

fn rejection(refused: Refused, breaker: &Breaker) -> Rejection {
    let name = breaker.name();
    let Refused { state, wait } = refused;
    let retry_after = match state {
        CircuitState::Open => Some(breaker.retry_after(wait)),
        CircuitState::HalfOpen => Some(HALF_OPEN_RETRY_AFTER),
        // Nobody knows for how long.
        _ => None,
    };
    telemetry::refused(name, state, retry_after);
    if state == CircuitState::HalfOpen && probing::is_inside(breaker) && breaker.common().is_first_nesting() {
        telemetry::nested(name);
    }
    Rejection::new(name.clone(), RejectionKind::CircuitOpen(state)).with_retry_after(retry_after)
}

impl<S, Req, C, J, O, L> fmt::Debug for CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    L: Link<C, J>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreakerFuture");
        match &self.state {
            State::Called { held, .. } => held.link().breaker().debug(f),
            State::Refused { refused, link, .. } => {
                f.field("refused", &refused.state);
                link.breaker().debug(f)
            }
        }
    }
}
