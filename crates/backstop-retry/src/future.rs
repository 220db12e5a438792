//! The future.
//!
//! | state | on | to |
//! |---|---|---|
//! | passing | the call ends | passing: its answer |
//! | first attempt, later attempt | an answer that isn't to be replaced | done: that answer |
//! | first attempt, later attempt | a response that is to be replaced | keeping |
//! | first attempt, later attempt | an error that is to be replaced | waiting |
//! | later attempt | refused by a layer, or out of time, with an earlier answer at hand | done: the earlier answer |
//! | later attempt | never sent, with an earlier answer at hand | waiting, or done: the earlier answer |
//! | keeping | the response is in memory, or given up, or the time is up | waiting |
//! | waiting | the delay has passed | later attempt |
//! | waiting | out of time, with an earlier answer at hand | done: the earlier answer |
//!
//! Most requests end with their first attempt, and every future is moved a few times before it is polled. So what is needed
//! after that is boxed.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Attempt, Classify, CopyRequest, Degradation, KeepAnswer, Scope, ServiceCall, Timer, scope};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    StopReason,
    repeats::{Answer, Repeats, Step},
};

pin_project! {
    /// The future of [`Retry`](crate::Retry).
    ///
    /// # Cancellation
    /// Dropping it drops the attempt that is being made, the answer of last resort and what was kept of the request. No
    /// other attempt is made.
    #[must_use = "futures do nothing unless polled"]
    pub struct RetryFuture<S, Req, C, K, A>
    where
        S: Service<Req>,
        K: CopyRequest<Req>,
        A: KeepAnswer<S::Response>,
    {
        #[pin]
        state: State<S, Req, A::Keeping>,
        // `None` for a request that passes straight through.
        repeats: Option<Repeats<S, Req, C, K, A>>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, P>
    where
        S: Service<Req>,
    {
        Passing { #[pin] future: S::Future },
        // Ended by nobody but itself: there is no earlier answer.
        First { #[pin] future: S::Future, scope: Scope },
        Later { attempt: Pin<Box<Attempt<ServiceCall<S, Req>>>> },
        // With the reports that belong to the response.
        Keeping { keeping: Pin<Box<P>>, reports: Vec<Degradation> },
        Waiting { timer: Timer },
        Done,
    }
}

impl<S, Req, C, K, A> RetryFuture<S, Req, C, K, A>
where
    S: Service<Req>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    /// The call of a request that is never repeated.
    pub(crate) const fn passing(future: S::Future) -> Self {
        Self { state: State::Passing { future }, repeats: None }
    }

    /// The first attempt of a request that may be repeated.
    pub(crate) const fn repeating(future: S::Future, scope: Scope, repeats: Repeats<S, Req, C, K, A>) -> Self {
        Self { state: State::First { future, scope }, repeats: Some(repeats) }
    }
}

impl<S, Req, C, K, A> Future for RetryFuture<S, Req, C, K, A>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    C: Classify<S::Response>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let mut answer = loop {
            let step = match (this.state.as_mut().project(), this.repeats.as_mut()) {
                (StateProj::Passing { future }, _) => return future.poll(cx),
                (StateProj::First { future, scope }, Some(repeats)) => {
                    let result = ready!(scope.enter(|| future.poll(cx)));
                    let reports = scope.take_reports();
                    let outcome = repeats.judge(&result);
                    if !outcome.transient {
                        // How most requests end: with an answer that nobody has to look at any more.
                        this.state.set(State::Done);
                        *this.repeats = None;
                        reports.into_iter().for_each(scope::report);
                        return Poll::Ready(result);
                    }
                    repeats.after(outcome, Answer { result, reports })
                }
                (StateProj::Later { attempt }, Some(repeats)) => ready!(poll_attempt(attempt.as_mut(), repeats, cx)),
                (StateProj::Keeping { keeping, reports }, Some(repeats)) => {
                    let response = ready!(keeping.as_mut().poll(cx));
                    repeats.kept(response, std::mem::take(reports));
                    Step::Wait
                }
                (StateProj::Waiting { timer }, Some(repeats)) => {
                    if let Some(at) = repeats.next_at() {
                        ready!(timer.poll_until(at, cx));
                    }
                    if let Some(last) = repeats.take_last_if_late() {
                        break last;
                    }
                    let Some(attempt) = repeats.begin_next() else {
                        return Poll::Pending;
                    };
                    this.state.set(State::Later { attempt: Box::pin(attempt) });
                    continue;
                }
                (_, None) | (StateProj::Done, _) => return Poll::Pending,
            };
            match (step, this.repeats.as_ref()) {
                (Step::Finish(answer), _) => break answer,
                (Step::Keep { response, reports }, Some(repeats)) => {
                    this.state.set(State::Keeping { keeping: Box::pin(repeats.keep(response)), reports });
                }
                // Whatever the attempt still held is dropped before the wait.
                (Step::Keep { .. } | Step::Wait, _) => {
                    this.state.set(State::Waiting { timer: Timer::new() });
                }
            }
        };
        if let (Ok(response), Some(repeats)) = (&mut answer.result, this.repeats.as_ref()) {
            repeats.note(response);
        }
        // Now, and not when this future is dropped: it may live on in a `join!`.
        this.state.set(State::Done);
        *this.repeats = None;
        answer.reports.into_iter().for_each(scope::report);
        Poll::Ready(answer.result)
    }
}

type Polled<S, Req> = Poll<Step<<S as Service<Req>>::Response, <S as Service<Req>>::Error>>;

/// Polls a later attempt, and ends it when the time is up, if there is something to return instead: without that there is
/// nothing that this layer could say in the service's own types.
fn poll_attempt<S, Req, C, K, A>(
    mut attempt: Pin<&mut Attempt<ServiceCall<S, Req>>>,
    repeats: &mut Repeats<S, Req, C, K, A>,
    cx: &mut Context<'_>,
) -> Polled<S, Req>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    C: Classify<S::Response>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    let result = if repeats.has_last() {
        match ready!(attempt.as_mut().poll(cx)) {
            Ok(result) => result,
            Err(_) => {
                return repeats
                    .take_last(StopReason::TotalPassed)
                    .map_or(Poll::Pending, |last| Poll::Ready(Step::Finish(last)));
            }
        }
    } else {
        ready!(attempt.as_mut().poll_call(cx))
    };
    let reports = attempt.take_reports();
    let outcome = repeats.judge(&result);
    Poll::Ready(repeats.after(outcome, Answer { result, reports }))
}

impl<S, Req, C, K, A> fmt::Debug for RetryFuture<S, Req, C, K, A>
where
    S: Service<Req>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passing { .. } => "Passing",
            State::First { .. } => "First",
            State::Later { .. } => "Later",
            State::Keeping { .. } => "Keeping",
            State::Waiting { .. } => "Waiting",
            State::Done => "Done",
        };
        f.debug_struct("RetryFuture").field("state", &state).finish_non_exhaustive()
    }
}
