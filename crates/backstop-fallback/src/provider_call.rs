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
    time::Duration,
};

use backstop_core::{Blame, Deadline, ErrorRef, Freshness, Outcome, Reason, Scope};
use backstop_kit::{Answer, Attempt, CopyAs, Judge, NotCopied, RequestFacts, polled_again, proof::Frame};
use tokio::time::Instant;

use crate::{
    Provider,
    chain::shared::Chain,
    commit::{AnswerWithBody, BodyWait},
    concurrency::Permit,
    miss::{Miss, ProviderMiss},
    provider::Run,
};

/// A running provider, in its scope and within its time.
///
/// # Cancellation
/// Dropping it drops the run, then gives its permit back.
pub(crate) struct ProviderCall<T> {
    started: Instant,
    // Before the permit, to be dropped first.
    phase: Phase<T>,
    /// Whether its answer shows that the provider works.
    is_proven: bool,
    _permit: Permit,
}

/// Boxed, because it is rare and large.
enum Phase<T> {
    Running(Pin<Box<Attempt<Run<T>>>>),
    AwaitingBody(Pin<Box<Attempt<BodyWait<T>>>>, Option<Freshness>),
}

impl<T> ProviderCall<T> {
    /// Starts a provider of `chain` in `frame`, if fewer than `concurrency` requests run there, with a copy of the request if it needs one.
    pub(crate) fn start<Req>(
        chain: &Chain<Req, T>,
        provider: &Provider<Req, T>,
        concurrency: Option<usize>,
        deadline: Deadline,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Result<Self, ProviderMiss> {
        let permit = provider.admit(concurrency).map_err(ProviderMiss::not_asked)?;
        Self::begin(chain, provider, permit, deadline, frame, copy)
    }

    /// As [`start`](Self::start), with a permit.
    pub(crate) fn begin<Req>(
        chain: &Chain<Req, T>,
        provider: &Provider<Req, T>,
        permit: Permit,
        deadline: Deadline,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Result<Self, ProviderMiss> {
        let (started, mut scope) = (Instant::now(), Scope::narrowed(deadline));
        let run = chain.panics.run(|| scope.enter(|| provider.start(copy, frame)));
        let run = run.map_err(|panicked| ProviderMiss::panicked(panicked, &chain.error_text))?;
        let run = run.map_err(|_| ProviderMiss::not_asked(Reason::NOT_REPLAYABLE))?;
        let phase = Phase::Running(Box::pin(Attempt::start(scope, || run)));
        Ok(Self { started, phase, is_proven: false, _permit: permit })
    }

    /// How long ago it started.
    pub(crate) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it has answered, and so shown that the provider works.
    pub(crate) const fn is_proven(&self) -> bool {
        self.is_proven
    }

    /// The answer, if `accepts` returns true for its outcome. Its reports have moved to the outer scope then. The error is why
    /// there is no answer.
    pub(crate) fn poll<Req, J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        request: RequestFacts,
        accepts: fn(&Outcome) -> bool,
        chain: &Chain<Req, T>,
    ) -> Poll<Result<Answer<T>, ProviderMiss>> {
        let polled = chain.panics.run(|| self.poll_phase(cx, judge, request, accepts, chain));
        polled.unwrap_or_else(|panicked| Poll::Ready(Err(ProviderMiss::panicked(panicked, &chain.error_text))))
    }

    fn poll_phase<Req, J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        request: RequestFacts,
        accepts: fn(&Outcome) -> bool,
        chain: &Chain<Req, T>,
    ) -> Poll<Result<Answer<T>, ProviderMiss>> {
        if let Phase::Running(attempt) = &mut self.phase {
            let result = ready!(attempt.as_mut().poll(cx)).map_err(|_elapsed| Miss::TIMED_OUT)?;
            let mut answer = result.map_err(|error| {
                let error = ErrorRef::new(&error);
                let (reason, outcome) = (judge.reason(request, Err(error)), judge.outcome(request, Err(error)));
                ProviderMiss { miss: Miss { reason, outcome }, error: chain.error_text.of(error).map(Cow::Owned) }
            })?;
            self.is_proven = is_proof(&accept(answer.value_mut(), judge, request, accepts)?);
            let Some(wait_for_body) = &chain.wait_for_body else {
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
            self.is_proven = is_proof(&accept(&mut answer, judge, request, accepts)?);
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
) -> Result<Outcome, Miss> {
    let mut outcome = judge.outcome(request, Ok(answer));
    if judge.is_unasked(answer) {
        // A miss, whatever the classifier says.
        outcome = outcome.blaming(Blame::Request);
    }
    if accepts(&outcome) { Ok(outcome) } else { Err(Miss { reason: judge.reason(request, Ok(answer)), outcome }) }
}

/// A refusal that ends the chain is passed on to a caller, but proves nothing.
pub(crate) fn is_proof(outcome: &Outcome) -> bool {
    outcome.answers_for_another() && !outcome.ends_chain
}
