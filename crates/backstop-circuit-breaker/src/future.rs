//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{ErrorRef, Outcome, Reason, Rejection, Verdict, grpc::GrpcCode};
use backstop_kit::{ContextOf, Judge, Protocol, Reject, RequestFacts, polled_again, proof::Entered, queue::QueuedCall};
use http::StatusCode;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    CircuitState, Observe,
    breaker::Breaker,
    call_guard::CallGuard,
    failure::Failure,
    layer_state::{CircuitRef, LayerState},
    observe::sealed::HandOver,
    probe_scope,
    state::Refused,
    telemetry,
    tracked_call::TrackedCall,
};

/// `Retry-After` while a probe runs: its result is not known yet.
const HALF_OPEN_RETRY_AFTER: Duration = Duration::from_secs(1);

pin_project! {
    /// The response future of [`CircuitBreaker`](crate::CircuitBreaker).
    ///
    /// # Cancellation
    /// Dropping it drops the call and returns its permit. See [how a dropped call is counted](crate#cancellation).
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct CircuitBreakerFuture<S, Req, P, L = Arc<LayerState<P>>>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        L: CircuitRef<P>,
    {
        // `None` if the circuit refused. Dropped first: the call ends before its permit is free.
        #[pin]
        future: Option<S::Future>,
        // One that has ended if the circuit refused.
        guard: CallGuard<P, L>,
        facts: RequestFacts,
        // The call may wait in a queue further in.
        queued: Option<QueuedCall>,
        // `None` unless the circuit refused, and once that was answered.
        refusal: Option<Refusal<ContextOf<S, Req, P>>>,
    }
}

/// A call that the circuit refused.
struct Refusal<X> {
    refused: Refused,
    context: X,
    entered: Entered,
}

impl<S, Req, P, L> CircuitBreakerFuture<S, Req, P, L>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    L: CircuitRef<P>,
{
    #[inline]
    pub(crate) const fn called(
        future: S::Future,
        guard: CallGuard<P, L>,
        facts: RequestFacts,
        queued: Option<QueuedCall>,
    ) -> Self {
        Self { future: Some(future), guard, facts, queued, refusal: None }
    }

    #[cold]
    pub(crate) fn refused(refused: Refused, request: &Req, circuit: L) -> Self {
        let context = circuit.protocol().reject().context(request);
        let refusal = Some(Refusal { refused, context, entered: Entered::now() });
        let guard = CallGuard::new(TrackedCall::ended(), circuit);
        Self { future: None, guard, facts: RequestFacts::none(), queued: None, refusal }
    }

    #[cold]
    fn refuse(self: Pin<&mut Self>) -> Result<S::Response, S::Error> {
        let this = self.project();
        let Some(Refusal { refused, context, entered }) = this.refusal.take() else {
            polled_again("CircuitBreakerFuture")
        };
        let circuit = this.guard.circuit();
        let answer = circuit.protocol().reject().reject(context, rejection(refused, circuit.breaker()));
        entered.prove();
        answer
    }
}

impl<S, Req, P, L> Future for CircuitBreakerFuture<S, Req, P, L>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Observe<S::Response, P, L>,
    L: CircuitRef<P>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(self.refuse()) };
        let guard = this.guard;
        if let Some(call) = this.queued
            && !ask_again(guard, call)
        {
            *this.queued = None;
        }
        // Changed in place: moving a response costs more than everything else here.
        let mut polled = guard.run(|| future.poll(cx));
        match &mut polled {
            Poll::Ready(result) => finish::<_, _, P, L>(guard, *this.facts, result),
            Poll::Pending => guard.start_waiting(),
        }
        polled
    }
}

/// Refuses a call that still waits in a queue, if the circuit has changed and refuses it now. Returns whether it waits.
#[cold]
fn ask_again<P, L: CircuitRef<P>>(guard: &mut CallGuard<P, L>, call: &QueuedCall) -> bool {
    let is_waiting = call.is_waiting();
    if is_waiting && let Err(refused) = guard.readmit() {
        call.refuse(rejection(refused, guard.circuit().breaker()));
    }
    is_waiting
}

/// Counts a result, or goes on with the body of a response.
#[inline]
fn finish<Res, E, P, L>(guard: &mut CallGuard<P, L>, facts: RequestFacts, result: &mut Result<Res, E>)
where
    E: 'static,
    P: Protocol,
    P::Judge: Judge<Res>,
    P::Until: Observe<Res, P, L>,
    L: CircuitRef<P>,
{
    let judge = guard.circuit().protocol().judge();
    let outcome = judge.outcome(facts, result.as_mut().map_err(|error| ErrorRef::new(error)));
    match (outcome.verdict, result) {
        (Verdict::Success, Ok(response)) => P::Until::hand_over(guard, outcome, response),
        (_, result) => finish_unsuccessful(guard, facts, outcome, result),
    }
}

/// Out of line, so that a healthy call isn't slowed down.
#[cold]
fn finish_unsuccessful<Res, E, P, L>(
    guard: &mut CallGuard<P, L>,
    facts: RequestFacts,
    mut outcome: Outcome,
    result: &mut Result<Res, E>,
) where
    E: 'static,
    P: Protocol,
    P::Judge: Judge<Res>,
    P::Until: Observe<Res, P, L>,
    L: CircuitRef<P>,
{
    match outcome.verdict {
        Verdict::Success => {}
        Verdict::Failure => {
            let judge = guard.circuit().protocol().judge();
            let reason = judge.reason(facts, result.as_mut().map_err(|error| ErrorRef::new(error)));
            outcome = guard.judge_upload(outcome, is_unanswered(reason, result.is_err()));
            if outcome.verdict == Verdict::Failure {
                let failure = match result {
                    Ok(_) => Failure::Response(reason),
                    Err(error) => Failure::Error(ErrorRef::new(error)),
                };
                return guard.finish(outcome, failure);
            }
        }
        // The service wasn't asked, and the caller hasn't left.
        _ => outcome = outcome.or_unprocessed(outcome.refused),
    }
    match result {
        Ok(response) => P::Until::hand_over(guard, outcome, response),
        Err(_) => guard.finish_well(outcome),
    }
}

/// Whether the service gave no answer of its own: an error, or an expired time limit further in. Backstop's own limits
/// have already considered the request's body.
fn is_unanswered(reason: Reason, is_error: bool) -> bool {
    match reason {
        Reason::TIMEOUT => false,
        reason if reason == Reason::status(StatusCode::GATEWAY_TIMEOUT) => true,
        reason if reason == Reason::grpc(GrpcCode::DEADLINE_EXCEEDED) => true,
        _ => is_error,
    }
}

pub(crate) fn rejection(refused: Refused, breaker: &Breaker) -> Rejection {
    let Refused { state, wait, .. } = refused;
    let retry_after = match state {
        CircuitState::Open => Some(breaker.retry_after(wait)),
        CircuitState::HalfOpen => Some(HALF_OPEN_RETRY_AFTER),
        // By then the share has grown, unless too few calls have finished.
        CircuitState::Recovering => Some(breaker.retry_after(wait).max(HALF_OPEN_RETRY_AFTER)),
        // No known end.
        _ => None,
    };
    telemetry::refused(breaker, state, retry_after);
    if state == CircuitState::HalfOpen
        && probe_scope::is_inside(breaker)
        && breaker.group().is_first_report_of_nesting()
    {
        telemetry::nested(breaker.name());
    }
    let reason = if state == CircuitState::Recovering { Reason::RECOVERING } else { Reason::CIRCUIT_OPEN };
    Rejection::refused(breaker.name().clone(), reason)
        .with_retry_after(retry_after)
        .with_static_detail(state.as_static())
}

impl<S, Req, P, L> fmt::Debug for CircuitBreakerFuture<S, Req, P, L>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    L: CircuitRef<P>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("CircuitBreakerFuture");
        if let Some(Refusal { refused, .. }) = &self.refusal {
            f.field("refused", &refused.state);
        }
        self.guard.circuit().breaker().debug(f)
    }
}
