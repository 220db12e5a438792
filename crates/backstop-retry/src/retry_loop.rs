//! The retry loop, after a failed first attempt.
//!
//! | phase | on | to |
//! |---|---|---|
//! | keeping | the response is in memory or given up, or the time is up | waiting |
//! | waiting | the delay has passed | attempt |
//! | waiting | out of time, with an earlier answer at hand | the end: the earlier answer |
//! | attempt | an answer that isn't repeated | the end: that answer |
//! | attempt | a response worth another attempt | keeping |
//! | attempt | an error worth another attempt | waiting |
//! | attempt | refused by a layer, or out of time, with an earlier answer at hand | the end: the earlier answer |
//! | attempt | never sent, with an earlier answer at hand | waiting, or the end: the earlier answer |

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Degradation;
use backstop_kit::{Attempt, CopyRequest, Judge, KeepAnswer, Protocol, ServiceCall, Timer, polled_again};
use tower_service::Service;

use crate::{
    CountAttempts, StopReason,
    planner::{AttemptResult, RetryPlanner, Step},
};

/// A request that is being repeated.
pub(crate) struct RetryLoop<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    phase: Phase<S, Req, KeepingBy<P, S::Response>>,
    planner: RetryPlanner<S, Req, P>,
}

/// The future in which the protocol keeps an answer.
type KeepingBy<P, Res> = <<P as Protocol>::Keep as KeepAnswer<Res>>::Keeping;

enum Phase<S: Service<Req>, Req, F> {
    /// With the reports of the response's attempt.
    Keeping {
        keeping: Pin<Box<F>>,
        reports: Vec<Degradation>,
    },
    Waiting {
        timer: Timer,
    },
    Attempt {
        attempt: Pin<Box<Attempt<ServiceCall<S, Req>>>>,
    },
}

type ServiceResult<S, Req> = Result<<S as Service<Req>>::Response, <S as Service<Req>>::Error>;

impl<S, Req, P> RetryLoop<S, Req, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
    P::Keep: KeepAnswer<S::Response>,
{
    /// Begins after the first attempt, or returns the answer if that is final.
    pub(crate) fn begin(
        planner: RetryPlanner<S, Req, P>,
        step: Step<S::Response, S::Error>,
    ) -> Result<Self, ServiceResult<S, Req>> {
        match Phase::after(step, &planner) {
            Ok(phase) => Ok(Self { phase, planner }),
            Err(answer) => Err(planner.finish(answer)),
        }
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<ServiceResult<S, Req>> {
        let Self { phase, planner } = self;
        loop {
            let step = match phase {
                Phase::Keeping { keeping, reports } => {
                    let response = ready!(keeping.as_mut().poll(cx));
                    planner.kept(response, mem::take(reports));
                    Step::Wait
                }
                Phase::Waiting { timer } => {
                    if let Some(at) = planner.next_at() {
                        ready!(timer.poll_until(at, cx));
                    }
                    if let Some(earlier) = planner.take_earlier_if_late() {
                        return Poll::Ready(planner.finish(earlier));
                    }
                    let Some(attempt) = planner.begin_next() else { polled_again("RetryFuture") };
                    *phase = Phase::Attempt { attempt: Box::pin(attempt) };
                    continue;
                }
                Phase::Attempt { attempt } => ready!(poll_attempt(attempt.as_mut(), planner, cx)),
            };
            match Phase::after(step, planner) {
                // Drops the attempt, and what it holds, before the wait.
                Ok(next) => *phase = next,
                Err(answer) => return Poll::Ready(planner.finish(answer)),
            }
        }
    }
}

impl<S, Req, P> RetryLoop<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    pub(crate) const fn phase(&self) -> &'static str {
        match &self.phase {
            Phase::Keeping { .. } => "Keeping",
            Phase::Waiting { .. } => "Waiting",
            Phase::Attempt { .. } => "Attempt",
        }
    }
}

impl<S: Service<Req>, Req, F> Phase<S, Req, F> {
    /// The phase after an attempt, or the final answer.
    fn after<P>(
        step: Step<S::Response, S::Error>,
        planner: &RetryPlanner<S, Req, P>,
    ) -> Result<Self, AttemptResult<S::Response, S::Error>>
    where
        S: Clone,
        S::Error: 'static,
        P: Protocol,
        P::Judge: Judge<S::Response>,
        P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
        P::Keep: KeepAnswer<S::Response, Keeping = F>,
    {
        match step {
            Step::Finish(answer) => Err(answer),
            Step::Keep { response, reports } => {
                Ok(Self::Keeping { keeping: Box::pin(planner.keep(response)), reports })
            }
            Step::Wait => Ok(Self::Waiting { timer: Timer::new() }),
        }
    }
}

type Polled<S, Req> = Poll<Step<<S as Service<Req>>::Response, <S as Service<Req>>::Error>>;

/// Polls a later attempt. If there is an earlier answer, ends the attempt when the time is up: without one, this layer has
/// nothing to return in the service's own types.
fn poll_attempt<S, Req, P>(
    mut attempt: Pin<&mut Attempt<ServiceCall<S, Req>>>,
    planner: &mut RetryPlanner<S, Req, P>,
    cx: &mut Context<'_>,
) -> Polled<S, Req>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
    P::Keep: KeepAnswer<S::Response>,
{
    planner.frame.listen();
    let polled = {
        let _in_span = planner.span.enter();
        if planner.has_earlier() { attempt.as_mut().poll(cx) } else { attempt.as_mut().poll_call(cx).map(Ok) }
    };
    let mut result = match polled {
        Poll::Pending => {
            planner.frame.waits();
            return Poll::Pending;
        }
        Poll::Ready(Ok(result)) => result,
        Poll::Ready(Err(elapsed)) => {
            planner.ended(elapsed);
            planner.frame.ended();
            let earlier = planner.take_earlier(StopReason::TotalPassed);
            return Poll::Ready(Step::Finish(earlier.unwrap_or_else(|| polled_again("RetryFuture"))));
        }
    };
    let is_unprocessed = planner.frame.ended();
    let reports = attempt.take_reports();
    let outcome = planner.judge(&mut result).or_unprocessed(is_unprocessed);
    Poll::Ready(planner.after(outcome, AttemptResult { result, reports }))
}
