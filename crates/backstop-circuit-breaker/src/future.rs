//! The response future.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Classify, ErrorRef, Reason, Rejection, Verdict, grpc::GrpcCode, judge_error};
use backstop_kit::{Reject, UntilHeaders, polled_again, proof::Entered};
use http::StatusCode;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    CircuitState, Observe,
    breaker::Breaker,
    call_guard::CallGuard,
    failure::Failure,
    layer_state::{CircuitRef, LayerState},
    probe_scope,
    state::Refused,
    telemetry,
    tracked_call::TrackedCall,
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
    pub struct CircuitBreakerFuture<S, Req, C, J, O = UntilHeaders, L = Arc<LayerState<C, J>>>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        L: CircuitRef<C, J>,
    {
        #[pin]
        state: State<S::Future, J::Context, C, J, L>,
        observe: PhantomData<fn() -> O>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, X, C, J, L> where L: CircuitRef<C, J> {
        Called { #[pin] future: F, guard: CallGuard<C, J, L>, context: X },
        // The context is `None` once it was given to the strategy.
        Refused { refused: Refused, context: Option<X>, circuit: L, entered: Entered },
    }
}

impl<S, Req, C, J, O, L> CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    L: CircuitRef<C, J>,
{
    #[inline]
    pub(crate) fn called(
        call: TrackedCall,
        context: J::Context,
        circuit: L,
        mut request: Req,
        start: impl FnOnce(Req) -> S::Future,
    ) -> Self {
        // Made before the call, which may panic.
        let mut guard = CallGuard::new(call, circuit);
        guard.watch(&mut request);
        let future = guard.run(|| start(request));
        Self { state: State::Called { future, guard, context }, observe: PhantomData }
    }

    pub(crate) const fn refused(refused: Refused, context: J::Context, circuit: L, entered: Entered) -> Self {
        Self { state: State::Refused { refused, context: Some(context), circuit, entered }, observe: PhantomData }
    }
}

impl<S, Req, C, J, O, L> Future for CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    O: Observe<S::Response, C, J, L>,
    L: CircuitRef<C, J>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProject::Called { future, guard, context } => {
                let Poll::Ready(result) = guard.run(|| future.poll(cx)) else {
                    guard.start_waiting();
                    return Poll::Pending;
                };
                let (classify, reject) = (guard.circuit().classify(), guard.circuit().reject());
                let mut outcome = match &result {
                    Ok(response) => reject.judge(context, classify, response),
                    Err(error) => judge_error(classify, ErrorRef::new(error)),
                };
                match outcome.verdict {
                    Verdict::Success => {}
                    Verdict::Failure => {
                        outcome = guard.judge_upload(outcome, is_unanswered(classify, &result));
                        if outcome.verdict == Verdict::Failure {
                            let failure = match &result {
                                Ok(response) => Failure::Response(reject.reason(context, classify, response)),
                                Err(error) => Failure::Error(ErrorRef::new(error)),
                            };
                            guard.finish(outcome, failure);
                            return Poll::Ready(result);
                        }
                    }
                    // The service wasn't asked, and the caller hasn't left.
                    _ => outcome = outcome.or_unprocessed(outcome.refused),
                }
                Poll::Ready(match result {
                    Ok(response) => Ok(O::hand_over(guard, outcome, response)),
                    Err(error) => {
                        guard.finish_well(outcome);
                        Err(error)
                    }
                })
            }
            StateProject::Refused { refused, context, circuit, entered } => {
                let Some(context) = context.take() else { polled_again("CircuitBreakerFuture") };
                let answer = circuit.reject().reject(context, rejection(*refused, circuit.breaker()));
                entered.prove();
                Poll::Ready(answer)
            }
        }
    }
}

/// Whether the service gave no answer of its own: an error, or a time limit that passed further in. Limits of ours have
/// looked at the request's body themselves.
fn is_unanswered<Res, E: 'static, C: Classify<Res>>(classify: &C, result: &Result<Res, E>) -> bool {
    match classify.reason(result.as_ref().map_err(ErrorRef::new)) {
        Reason::TIMEOUT => false,
        reason if reason == Reason::status(StatusCode::GATEWAY_TIMEOUT) => true,
        reason if reason == Reason::grpc(GrpcCode::DEADLINE_EXCEEDED) => true,
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
    if state == CircuitState::HalfOpen
        && probe_scope::is_inside(breaker)
        && breaker.group().is_first_report_of_nesting()
    {
        telemetry::nested(name);
    }
    Rejection::refused(name.clone(), Reason::CIRCUIT_OPEN)
        .with_retry_after(retry_after)
        .with_static_detail(state.as_static())
}

impl<S, Req, C, J, O, L> fmt::Debug for CircuitBreakerFuture<S, Req, C, J, O, L>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    L: CircuitRef<C, J>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreakerFuture");
        match &self.state {
            State::Called { guard, .. } => guard.circuit().breaker().debug(f),
            State::Refused { refused, circuit, .. } => {
                f.field("refused", &refused.state);
                circuit.breaker().debug(f)
            }
        }
    }
}
