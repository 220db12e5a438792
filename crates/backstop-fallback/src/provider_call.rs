//! The call of one provider.
//!
//! | in | on | goes to |
//! |---|---|---|
//! | running | an answer whose body isn't waited for | the end |
//! | running | any other answer | awaiting the body |
//! | awaiting the body | enough of the body, with a good gRPC status if that has come | the end |
//! | either | a failure, or its time is up | the end, without an answer |

use std::{
    borrow::Cow,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Blame, Deadline, ErrorRef, Freshness, Outcome, Reason, Scope};
use backstop_kit::{Answer, Attempt, CopyAs, ErrorText, Judge, NotCopied, RequestFacts, polled_again, proof::Frame};

use crate::{
    Provider,
    commit::{AnswerWithBody, BodyWait, WaitForBody},
    concurrency::Permit,
    miss::{Miss, ProviderMiss},
    provider::Run,
};

/// A provider's run, in its scope and within its time.
///
/// # Cancellation
/// Dropping it drops the run, then gives its permit back.
pub(crate) struct ProviderCall<T> {
    // Before the permit, to be dropped first.
    phase: Phase<T>,
    _permit: Option<Permit>,
}

/// Boxed: it is rare, and large.
enum Phase<T> {
    Running(Pin<Box<Attempt<Run<T>>>>),
    AwaitingBody(Pin<Box<Attempt<BodyWait<T>>>>, Option<Freshness>),
}

impl<T> ProviderCall<T> {
    /// Starts `provider` in `frame`, if it has a permit left, with a copy of the request if it needs one.
    pub(crate) fn start<Req>(
        provider: &Provider<Req, T>,
        deadline: Deadline,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Result<Self, Reason> {
        let permit = provider.admit()?;
        let mut scope = Scope::narrowed(deadline);
        let run = scope.enter(|| provider.start(copy, frame)).map_err(|_| Reason::NOT_REPLAYABLE)?;
        Ok(Self { phase: Phase::Running(Box::pin(Attempt::start(scope, || run))), _permit: permit })
    }

    /// The answer, if `accepts` accepts it; its reports have moved up. Or why there is none.
    pub(crate) fn poll<J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        request: RequestFacts,
        accepts: fn(&Outcome) -> bool,
        wait_for_body: Option<&WaitForBody<T>>,
        error_text: &ErrorText,
    ) -> Poll<Result<Answer<T>, ProviderMiss>> {
        if let Phase::Running(attempt) = &mut self.phase {
            let result = ready!(attempt.as_mut().poll(cx)).map_err(|_elapsed| Miss::TIMED_OUT)?;
            let mut answer = result.map_err(|error| {
                let error = ErrorRef::new(&error);
                let (reason, outcome) = (judge.reason(request, Err(error)), judge.outcome(request, Err(error)));
                ProviderMiss { miss: Miss { reason, outcome }, error: error_text.of(error).map(Cow::Owned) }
            })?;
            accept(answer.value_mut(), judge, request, accepts)?;
            let Some(wait_for_body) = wait_for_body else {
                attempt.as_mut().pass_on_reports();
                return Poll::Ready(Ok(answer));
            };
            let (scope, freshness) = (attempt.as_mut().take_scope(), answer.freshness());
            let attempt = Attempt::start(scope, || wait_for_body(answer.into_value()));
            self.phase = Phase::AwaitingBody(Box::pin(attempt), freshness);
        }
        let Phase::AwaitingBody(attempt, freshness) = &mut self.phase else { polled_again("ProviderCall") };
        let answer = ready!(attempt.as_mut().poll(cx)).map_err(|_elapsed| Miss::TIMED_OUT)?;
        let AnswerWithBody { answer, to_judge } = answer.ok_or(Miss::BROKE_OFF)?;
        if let Some(mut answer) = to_judge {
            accept(&mut answer, judge, request, accepts)?;
        }
        attempt.as_mut().pass_on_reports();
        Poll::Ready(Ok(match *freshness {
            Some(freshness) => Answer::new(answer, freshness),
            None => answer.into(),
        }))
    }
}

fn accept<T, J: Judge<T>>(
    answer: &mut T,
    judge: &J,
    request: RequestFacts,
    accepts: fn(&Outcome) -> bool,
) -> Result<(), Miss> {
    let mut outcome = judge.outcome(request, Ok(answer));
    if judge.is_unasked(answer) {
        // A miss, whatever the classifier makes of it.
        outcome = outcome.blaming(Blame::Request);
    }
    if accepts(&outcome) { Ok(()) } else { Err(Miss { reason: judge.reason(request, Ok(answer)), outcome }) }
}
