//! The future.
//!
//! | state | on | to |
//! |---|---|---|
//! | passing | the call ends | passing: its answer |
//! | first attempt | an answer that isn't to be replaced | done: that answer |
//! | first attempt | a response or an error that is to be replaced | [the rest](crate::rest) |
//! | the rest | whatever it comes to | done |
//!
//! Most requests end with their first attempt, and every future is moved a few times before it is polled. So what is needed
//! after that is boxed.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Deadline, Scope, SetBy, Verdict};
use backstop_kit::{CopyRequest, Judge, KeepAnswer, Protocol, polled_again, proof::Frame};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    config::Settings,
    repeats::{Answer, Repeats},
    rest::Rest,
    spare::{KeptBy, Spare},
    telemetry,
};

pin_project! {
    /// The future of [`Retry`](crate::Retry).
    ///
    /// # Cancellation
    /// Dropping it drops the attempt that is being made, the answer of last resort and what was kept of the request. No
    /// other attempt is made.
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
            // A first attempt that ended has left this state.
            if let StateProj::First { scope, spare: Some(spare), .. } = this.project().state.project()
                && scope.deadline_if_begun().is_some_and(is_ours_and_passed)
            {
                let Settings { name, total, .. } = &spare.policy.settings;
                telemetry::first_attempt_outlasted_total(name, *total);
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
        // Ended by nobody but itself: there is no earlier answer.
        First {
            #[pin]
            future: S::Future,
            scope: Scope,
            frame: Frame,
            // Taken when it has failed.
            spare: Option<Spare<S, KeptBy<P, Req>, P>>,
        },
        // Boxed: it is rare, and large.
        Rest { rest: Box<Rest<S, Req, P>> },
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
        spare: Spare<S, KeptBy<P, Req>, P>,
    ) -> Self {
        Self { state: State::First { future, scope, frame, spare: Some(spare) } }
    }
}

/// A deadline of the caller's that passes says nothing of the total.
fn is_ours_and_passed(deadline: Deadline) -> bool {
    deadline.set_by() == SetBy::Us && deadline.has_passed()
}

impl<S, Req, P> Future for RetryFuture<S, Req, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        match state.as_mut().project() {
            StateProj::Passing { future } => return future.poll(cx),
            StateProj::First { future, scope, frame, spare } => {
                let Some(kept) = spare.as_ref() else { polled_again("RetryFuture") };
                frame.listen();
                let mut polled = scope.enter(|| future.poll(cx));
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
                        kept.say_not_worth_it(1, &outcome.or_unprocessed(is_unprocessed));
                    }
                    // How most requests end. The answer is handed on as it is: moving a response costs more than all the
                    // rest.
                    scope.commit();
                    frame.pass_on();
                    // Now, and not when this future is dropped: it may live on in a `join!`.
                    state.set(State::Done);
                    return polled;
                }
                let (Poll::Ready(result), Some(spare)) = (polled, spare.take()) else { polled_again("RetryFuture") };
                let total = spare.policy.settings.total;
                let deadline = scope.begin().unwrap_or_else(|| Deadline::after(total, SetBy::Us));
                if is_ours_and_passed(deadline) {
                    telemetry::first_attempt_outlasted_total(&spare.policy.settings.name, total);
                }
                let answer = Answer { result, reports: scope.take_reports() };
                let frame = mem::replace(frame, Frame::detached());
                let mut repeats = Repeats::new(spare, deadline, frame);
                let step = repeats.after(outcome.or_unprocessed(is_unprocessed), answer);
                // Whatever the attempt still held is dropped before the wait.
                state.set(State::Done);
                match Rest::begin(repeats, step) {
                    Ok(rest) => state.set(State::Rest { rest: Box::new(rest) }),
                    Err(result) => return Poll::Ready(result),
                }
            }
            StateProj::Rest { .. } => {}
            StateProj::Done => polled_again("RetryFuture"),
        }
        let StateProj::Rest { rest } = state.as_mut().project() else { polled_again("RetryFuture") };
        let result = ready!(rest.poll(cx));
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
            State::Rest { rest } => rest.phase(),
            State::Done => "Done",
        };
        f.debug_struct("RetryFuture").field("state", &state).finish_non_exhaustive()
    }
}
