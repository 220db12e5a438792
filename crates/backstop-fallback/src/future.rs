//! The response future.
//!
//! | in | on | goes to |
//! |---|---|---|
//! | primary | an answer | the end |
//! | primary | a failure, or its share of the time is up | rest |
//! | rest | a provider's answer | the end |
//! | rest | no provider left | the end: what the primary gave, or a rejection |
//! | passing (an upgrade) | anything | the end |

use std::{
    fmt, mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{
    AllProvidersFailed, Attempt, Blame, Classify, CopyRequest, Deadline, Degradation, Elapsed, ErrorRef, KeepAnswer,
    NotCopied, Outcome, Progress, Reason, Reject, RequestFacts, Scope, ServiceCall, scope,
};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{layer::Policy, share::next_deadline, walk::Walk};

pin_project! {
    /// The response future of [`Fallback`](crate::Fallback).
    ///
    /// # Cancellation
    /// Dropping it drops the primary's call, or the provider's that is running, and gives back what they held.
    #[must_use = "futures do nothing unless polled"]
    pub struct FallbackFuture<S, Req, C, J, K, A>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        K: CopyRequest<Req>,
        A: KeepAnswer<S::Response>,
    {
        #[pin]
        state: State<S, Req, C, J, K, A>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, C, J, K, A>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        K: CopyRequest<Req>,
        A: KeepAnswer<S::Response>,
    {
        Passing {
            #[pin]
            call: ServiceCall<S, Req>,
        },
        Primary {
            #[pin]
            attempt: Attempt<ServiceCall<S, Req>>,
            // Taken when the primary fails.
            spare: Option<Spare<S, Req, C, J, K, A>>,
        },
        // Boxed: it is rare, and large.
        Rest { rest: Pin<Box<Rest<S, Req, C, J, K, A>>> },
    }
}

/// What the layer was told, as the future of a service `S` sees it.
type PolicyOf<S, Req, C, J, K, A> = Arc<Policy<Req, <S as Service<Req>>::Response, C, J, K, A>>;

/// How the primary failed.
struct Failure<Res, E> {
    /// `None` where it gave nothing in its time.
    result: Option<Result<Res, E>>,
    reason: Reason,
    outcome: Outcome,
}

/// What is needed only if the primary fails.
struct Spare<S, Req, C, J, K, A>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
{
    policy: PolicyOf<S, Req, C, J, K, A>,
    started: Instant,
    limit: Deadline,
    facts: RequestFacts,
    /// `None` where no provider needs the request.
    kept: Option<K::Kept>,
    context: J::Context,
}

pin_project! {
    struct Rest<S, Req, C, J, K, A>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        K: CopyRequest<Req>,
        A: KeepAnswer<S::Response>,
    {
        policy: PolicyOf<S, Req, C, J, K, A>,
        // Taken when no provider is left.
        walk: Option<Walk<Req, S::Response>>,
        failed: Option<AllProvidersFailed>,
        kept: Option<K::Kept>,
        // Taken when the rejection is made.
        context: Option<J::Context>,
        #[pin]
        last_resort: LastResort<A::Keeping, S::Response, S::Error>,
        // What was reported while the primary made it.
        reports: Vec<Degradation>,
    }
}

pin_project! {
    /// What the primary gave.
    #[project = LastResortProj]
    enum LastResort<F, Res, E> {
        Keeping { #[pin] keeping: F },
        Kept { result: Option<Result<Res, E>> },
    }
}

impl<S, Req, C, J, K, A> FallbackFuture<S, Req, C, J, K, A>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    pub(crate) fn new(policy: &PolicyOf<S, Req, C, J, K, A>, primary: S, mut request: Req) -> Self {
        let facts = policy.copy.facts(&request);
        if facts.is_upgrade() {
            return Self { state: State::Passing { call: ServiceCall::when_ready(primary, request) } };
        }
        let chain = policy.chain.shared();
        let context = policy.reject.context(&request);
        let kept = chain.needs.map(|keep| policy.copy.keep(&mut request, keep));
        let started = Instant::now();
        let limit = chain.limit(started);
        let providers = chain.providers.len() as u32 + 1;
        let scope = Scope::narrowed(next_deadline(started, limit, providers, policy.primary_timeout));
        let attempt = Attempt::start(scope, || ServiceCall::when_ready(primary, request));
        let spare = Spare { policy: Arc::clone(policy), started, limit, facts, kept, context };
        Self { state: State::Primary { attempt, spare: Some(spare) } }
    }
}

impl<S, Req, C, J, K, A> Future for FallbackFuture<S, Req, C, J, K, A>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let rest = match state.as_mut().project() {
                StateProj::Passing { call } => return call.poll(cx),
                StateProj::Rest { rest } => return rest.as_mut().poll(cx),
                StateProj::Primary { mut attempt, spare } => {
                    let result = ready!(attempt.as_mut().poll(cx));
                    let Some(spare) = spare.take() else { return Poll::Pending };
                    let failure = match result {
                        Ok(result) => {
                            let Some((reason, outcome)) = spare.judge(&result) else {
                                attempt.commit();
                                return Poll::Ready(result);
                            };
                            Failure { result: Some(result), reason, outcome }
                        }
                        Err(elapsed) => Failure { result: None, reason: Reason::Timeout, outcome: timed_out(elapsed) },
                    };
                    Rest::new(spare, failure, attempt.take_reports())
                }
            };
            // Drops the primary's call, if it is still there, before another provider is asked.
            state.set(State::Rest { rest: Box::pin(rest) });
        }
    }
}

fn timed_out(elapsed: Elapsed) -> Outcome {
    match elapsed.progress {
        Progress::Called => Outcome::failure(),
        Progress::NotAsked | Progress::NotReady => Outcome::failure().unprocessed(),
    }
}

impl<S, Req, C, J, K, A> Spare<S, Req, C, J, K, A>
where
    S: Service<Req>,
    S::Error: 'static,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
{
    /// Why this isn't an answer; `None` if it is.
    fn judge(&self, result: &Result<S::Response, S::Error>) -> Option<(Reason, Outcome)> {
        let result = result.as_ref().map_err(ErrorRef::new);
        let outcome = self.policy.classify.classify(result);
        // RFC 8470 §5.2: where our caller used early data, a 425 is for the caller to act upon.
        let too_early_for_caller = outcome.blame == Some(Blame::EarlyData) && self.facts.is_early_data();
        if outcome.answers() || too_early_for_caller {
            return None;
        }
        Some((self.policy.classify.reason(result), outcome))
    }
}

impl<S, Req, C, J, K, A> Rest<S, Req, C, J, K, A>
where
    S: Service<Req>,
    C: Classify<S::Response>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    fn new(
        spare: Spare<S, Req, C, J, K, A>,
        failure: Failure<S::Response, S::Error>,
        reports: Vec<Degradation>,
    ) -> Self {
        let Spare { policy, started, limit, facts, kept, context } = spare;
        let mut walk = Walk::new(Arc::clone(policy.chain.shared()), started, limit, facts);
        walk.passed(policy.primary.clone(), failure.reason, failure.outcome);
        let last_resort = match failure.result {
            Some(Ok(response)) => LastResort::Keeping { keeping: policy.keep.keep(response) },
            other => LastResort::Kept { result: other },
        };
        Self { policy, walk: Some(walk), failed: None, kept, context: Some(context), last_resort, reports }
    }

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        let policy = this.policy;
        // Beside the providers, so that none waits for it; before them, so that its connection is free for them.
        let keeping = this.last_resort.as_mut().poll(cx);
        if let Some(walk) = this.walk {
            let kept = this.kept;
            let found = ready!(walk.poll(cx, &policy.classify, |copy| match kept {
                Some(kept) => policy.copy.copy(kept, copy),
                // No provider asks, then.
                None => Err(NotCopied::HeadOnly),
            }));
            if let Some(mut found) = found {
                if let Some(degradation) = &found.degradation {
                    policy.reject.label(&mut found.result.value, degradation);
                }
                return Poll::Ready(Ok(found.result.value));
            }
            *this.failed = this.walk.take().map(Walk::into_failed);
        }
        ready!(keeping);
        if let Some(result) = this.last_resort.take() {
            mem::take(this.reports).into_iter().for_each(scope::report);
            return Poll::Ready(result);
        }
        let (Some(failed), Some(context)) = (this.failed.take(), this.context.take()) else {
            return Poll::Pending;
        };
        Poll::Ready(policy.reject.reject(context, failed.into()))
    }
}

impl<F: Future<Output = Option<Res>>, Res, E> LastResort<F, Res, E> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let LastResortProj::Keeping { keeping } = self.as_mut().project() {
            let kept = ready!(keeping.poll(cx));
            self.set(Self::Kept { result: kept.map(Ok) });
        }
        Poll::Ready(())
    }

    fn take(self: Pin<&mut Self>) -> Option<Result<Res, E>> {
        match self.project() {
            LastResortProj::Keeping { .. } => None,
            LastResortProj::Kept { result } => result.take(),
        }
    }
}

impl<S, Req, C, J, K, A> fmt::Debug for FallbackFuture<S, Req, C, J, K, A>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    K: CopyRequest<Req>,
    A: KeepAnswer<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match &self.state {
            State::Passing { .. } => "passing",
            State::Primary { .. } => "primary",
            State::Rest { .. } => "rest",
        };
        f.debug_struct("FallbackFuture").field("state", &state).finish_non_exhaustive()
    }
}
