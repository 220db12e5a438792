//! The future.
//!
//! | state | on | to |
//! |---|---|---|
//! | passing | the call ends | passing: its answer |
//! | first attempt | an answer that isn't repeated | done: that answer |
//! | first attempt | a response or an error worth another attempt | [repeating](crate::retry_loop) |
//! | repeating | the end of the retry loop | done |
//!
//! Most requests end with their first attempt, and a future is moved a few times before it is polled. So everything needed later
//! is boxed.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Scope, Verdict};
use backstop_kit::{CopyRequest, Judge, KeepAnswer, Protocol, polled_again, proof::Frame};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    CountAttempts,
    attempt_span::AttemptSpan,
    layer_state::is_total_and_passed,
    planner::{AttemptResult, RetryPlanner},
    request_state::{KeptBy, RequestState},
    retry_loop::RetryLoop,
    telemetry,
};

pin_project! {
    /// The future of [`Retry`](crate::Retry).
    ///
    /// # Cancellation
    /// Dropping it drops the running attempt, the kept answer, and what was kept of the request. No other attempt is made.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        #[pin]
        state: State<S, Req, P>,
    }

    impl<S, Req, P> PinnedDrop for RetryFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        fn drop(this: Pin<&mut Self>) {
            // The first attempt has not ended.
            if let StateProj::First { scope, request_state: Some(request_state), .. } = this.project().state.project()
                && scope.deadline_if_begun().is_some_and(is_total_and_passed)
            {
                telemetry::first_attempt_outlasted_total(request_state.name(), request_state.settings().total);
            }
        }
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        Passing { #[pin] future: S::Future },
        // It isn't ended when the total passes: there is no earlier answer.
        First {
            #[pin]
            future: S::Future,
            scope: Scope,
            frame: Frame,
            span: AttemptSpan,
            // Taken when it fails.
            request_state: Option<RequestState<S, KeptBy<P, Req>, P>>,
        },
        // Boxed: it is rare, and large.
        Repeating { retry_loop: Box<RetryLoop<S, Req, P>> },
        Done,
    }
}

impl<S, Req, P> RetryFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    /// The call of a request that is never repeated.
    #[inline]
    pub(crate) const fn passing(future: S::Future) -> Self {
        Self { state: State::Passing { future } }
    }

    /// The first attempt of a request that may be repeated.
    #[inline]
    pub(crate) const fn first(
        future: S::Future,
        scope: Scope,
        frame: Frame,
        span: AttemptSpan,
        request_state: RequestState<S, KeptBy<P, Req>, P>,
    ) -> Self {
        Self { state: State::First { future, scope, frame, span, request_state: Some(request_state) } }
    }
}

impl<S, Req, P> Future for RetryFuture<S, Req, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            StateProj::Passing { future } => return future.poll(cx),
            StateProj::First { future, scope, frame, span, request_state } => {
                let Some(kept) = request_state.as_ref() else { polled_again("RetryFuture") };
                frame.listen();
                let mut polled = {
                    let _in_span = span.enter();
                    scope.enter(|| future.poll(cx))
                };
                let Poll::Ready(result) = &mut polled else {
                    frame.waits();
                    // The time of all attempts begins with the wait for the first one.
                    scope.begin();
                    return Poll::Pending;
                };
                let is_unprocessed = frame.ended();
                let outcome = kept.judge(result);
                if !outcome.transient {
                    if outcome.verdict != Verdict::Success {
                        kept.log_not_worth_repeating(1, &outcome.or_unprocessed(is_unprocessed), result);
                    }
                    span.end(|| kept.reported(&outcome, result));
                    // How most requests end. The answer isn't moved: that costs more than all the rest.
                    scope.pass_on_reports();
                    frame.pass_on();
                    // Drops the attempt now: this future may live on in a `join!`.
                    state.set(State::Done);
                    return polled;
                }
                let (Poll::Ready(result), Some(request_state)) = (polled, request_state.take()) else {
                    polled_again("RetryFuture")
                };
                let deadline = request_state.layer.retry.deadline_after_first(request_state.settings(), scope);
                let answer = AttemptResult { result, reports: scope.take_reports() };
                let frame = mem::replace(frame, Frame::detached());
                let span = mem::replace(span, AttemptSpan::none());
                let mut planner = RetryPlanner::new(request_state, deadline, frame, span);
                let step = planner.after(outcome.or_unprocessed(is_unprocessed), answer);
                // Drops the attempt, and what it holds, before the wait.
                state.set(State::Done);
                match RetryLoop::begin(planner, step) {
                    Ok(retry_loop) => state.set(State::Repeating { retry_loop: Box::new(retry_loop) }),
                    Err(result) => return Poll::Ready(result),
                }
            }
            StateProj::Repeating { .. } => {}
            StateProj::Done => polled_again("RetryFuture"),
        }
        let StateProj::Repeating { retry_loop } = state.as_mut().project() else { polled_again("RetryFuture") };
        let result = ready!(retry_loop.poll(cx));
        state.set(State::Done);
        Poll::Ready(result)
    }
}

impl<S, Req, P> fmt::Debug for RetryFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passing { .. } => "Passing",
            State::First { .. } => "First",
            State::Repeating { retry_loop } => retry_loop.phase(),
            State::Done => "Done",
        };
        f.debug_struct("RetryFuture").field("state", &state).finish_non_exhaustive()
    }
}
