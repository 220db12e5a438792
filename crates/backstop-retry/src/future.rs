//! The future.
//!
//! | state | on | to |
//! |---|---|---|
//! | passing | the call ends | done: its answer |
//! | attempting | an answer that isn't to be replaced | done: that answer |
//! | attempting | a response that is to be replaced | keeping |
//! | attempting | an error that is to be replaced | waiting |
//! | attempting | refused by a layer, or out of time, with an earlier answer at hand | done: the earlier answer |
//! | keeping | the response is in memory, or given up | waiting |
//! | waiting | the delay has passed | attempting |
//! | waiting | out of time, with an earlier answer at hand | done: the earlier answer |

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{
    Attempt, Classify, CopyRequest, Deadline, Keep, KeepAnswer, RequestFacts, Scope, ServiceCall, SetBy, Timer, scope,
};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    StopReason,
    layer::Policy,
    repeats::{Again, Answer, Repeats, Step},
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
        Attempting { #[pin] attempt: Attempt<ServiceCall<S, Req>> },
        Keeping { #[pin] keeping: P },
        Waiting { #[pin] timer: Timer },
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

    /// The first attempt, which `call` makes; `later` is for those that may follow.
    pub(crate) fn repeating(
        policy: &Arc<Policy<C, K, A>>,
        facts: RequestFacts,
        later: S,
        mut request: Req,
        call: impl FnOnce(Req) -> S::Future,
    ) -> Self {
        if let Some(budget) = &policy.budget {
            budget.deposit();
        }
        let kept = policy.copy.keep(&mut request, Keep::Whole);
        let deadline = Deadline::after(policy.settings.total, SetBy::Us);
        let attempt = Attempt::start(Scope::narrowed(deadline), || ServiceCall::called(call(request)));
        let repeats = Repeats::new(policy, facts, deadline, Again { service: later, kept });
        Self { state: State::Attempting { attempt }, repeats: Some(repeats) }
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
                (StateProj::Passing { future }, _) => {
                    let result = ready!(future.poll(cx));
                    break Answer { result, reports: Vec::new() };
                }
                (StateProj::Attempting { attempt }, Some(repeats)) => ready!(poll_attempt(attempt, repeats, cx)),
                (StateProj::Keeping { keeping }, Some(repeats)) => {
                    repeats.kept(ready!(keeping.poll(cx)));
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
                    this.state.set(State::Attempting { attempt });
                    continue;
                }
                (StateProj::Attempting { .. } | StateProj::Keeping { .. } | StateProj::Waiting { .. }, None)
                | (StateProj::Done, _) => return Poll::Pending,
            };
            match (step, this.repeats.as_ref()) {
                (Step::Finish(answer), _) => break answer,
                (Step::Keep(response), Some(repeats)) => {
                    this.state.set(State::Keeping { keeping: repeats.keep(response) });
                }
                // Whatever the attempt still held is dropped before the wait.
                (Step::Keep(_) | Step::Wait, _) => this.state.set(State::Waiting { timer: Timer::new() }),
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

/// Polls an attempt, and ends it when the time is up, if there is something to return instead: without that there is
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
    Poll::Ready(repeats.after(Answer { result, reports }))
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
            State::Attempting { .. } => "Attempting",
            State::Keeping { .. } => "Keeping",
            State::Waiting { .. } => "Waiting",
            State::Done => "Done",
        };
        f.debug_struct("RetryFuture").field("state", &state).finish_non_exhaustive()
    }
}
