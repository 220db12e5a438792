//! The way along a chain: one provider after another, until one answers or none is left.
//!
//! | the provider | goes to |
//! |---|---|
//! | answers, and the classifier takes it for an answer | the end: found |
//! | answers otherwise, fails, or takes longer than its share | the next provider |
//! | isn't for requests that may have been processed, and this one may have | the next provider, without being asked |
//! | needs a request that can't be copied | the next provider, without being asked |
//!
//! From the second provider on only a success is an answer: a cache that answers 404 is a miss.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{
    AllProvidersFailed, Answer, Attempt, Classify, CopyAs, Deadline, Degradation, ErrorRef, Freshness, Name, NotCopied,
    Outcome, ProviderFailure, Pushback, Reason, RequestFacts, Scope, scope,
};
use tokio::time::Instant;

use crate::{
    chain::Chain,
    provider::{Run, SideEffects},
    share::next_deadline,
    telemetry,
};

/// Where a request stands in its chain.
pub(crate) struct Walk<Req, T> {
    chain: Arc<Chain<Req, T>>,
    started: Instant,
    limit: Deadline,
    request: RequestFacts,
    /// Why those that were passed didn't answer. What stood before the chain's own providers comes first.
    failures: Vec<ProviderFailure>,
    retry_after: Option<Duration>,
    may_be_processed: bool,
    /// The next of the chain's own providers, or the one that is running.
    next: usize,
    running: Option<Pin<Box<Attempt<Run<T>>>>>,
}

/// An answer.
pub(crate) struct Found<T> {
    pub(crate) value: T,
    pub(crate) source: Name,
    pub(crate) latency: Duration,
    pub(crate) is_fallback: bool,
    pub(crate) freshness: Freshness,
    /// What was reported, where it isn't the first provider's.
    pub(crate) degradation: Option<Degradation>,
}

impl<Req, T> Walk<Req, T> {
    /// The way along all of a chain's own providers, for a request that came at `started`.
    pub(crate) const fn new(
        chain: Arc<Chain<Req, T>>,
        started: Instant,
        limit: Deadline,
        request: RequestFacts,
    ) -> Self {
        Self {
            chain,
            started,
            limit,
            request,
            failures: Vec::new(),
            retry_after: None,
            may_be_processed: false,
            next: 0,
            running: None,
        }
    }

    /// Notes that `provider` gave no answer.
    pub(crate) fn passed(&mut self, provider: Name, reason: Reason, outcome: Outcome) {
        self.failures.push(ProviderFailure::new(provider, reason));
        if let Some(Pushback::After(wait)) = outcome.pushback {
            self.retry_after = Some(self.retry_after.map_or(wait, |least| least.min(wait)));
        }
        self.may_be_processed |= !outcome.unprocessed;
    }

    /// Goes on until there is an answer, or none left to ask (`None`).
    pub(crate) fn poll<C: Classify<T> + ?Sized>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &C,
        mut copy: impl FnMut(CopyAs) -> Result<Req, NotCopied>,
    ) -> Poll<Option<Found<T>>> {
        while self.next < self.chain.providers.len() {
            let (reason, outcome) = match &mut self.running {
                None => match self.start(&mut copy) {
                    Ok(attempt) => {
                        self.running = Some(attempt);
                        continue;
                    }
                    // Not asked, so nothing of it was processed.
                    Err(reason) => (reason, Outcome::neutral().unprocessed()),
                },
                Some(attempt) => match ready!(attempt.as_mut().poll(cx)) {
                    Err(_elapsed) => (Reason::Timeout, Outcome::failure()),
                    Ok(Ok(answer)) => {
                        let outcome = judge.classify(Ok(answer.value()));
                        if outcome.answers_for_another() || (self.failures.is_empty() && outcome.answers()) {
                            attempt.as_mut().commit();
                            return Poll::Ready(Some(self.found(answer)));
                        }
                        (judge.reason(Ok(answer.value())), outcome)
                    }
                    Ok(Err(error)) => {
                        let error = ErrorRef::new(&error);
                        (judge.reason(Err(error)), judge.classify(Err(error)))
                    }
                },
            };
            self.running = None;
            let provider = &self.chain.providers[self.next];
            // What was given nothing of the request can't have processed it.
            let outcome = if provider.needs().is_none() { outcome.unprocessed() } else { outcome };
            self.passed(provider.name().clone(), reason, outcome);
            self.next += 1;
        }
        Poll::Ready(None)
    }

    fn start(&self, copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>) -> Result<Pin<Box<Attempt<Run<T>>>>, Reason> {
        let provider = &self.chain.providers[self.next];
        let repeatable = self.request.is_idempotent() || !self.may_be_processed;
        if !repeatable && provider.side_effects() == SideEffects::Forbidden {
            return Err(Reason::NotEligible);
        }
        let left = (self.chain.providers.len() - self.next) as u32;
        let mut scope = Scope::narrowed(next_deadline(Instant::now(), self.limit, left, provider.own_timeout()));
        let run = scope.enter(|| provider.start(copy)).map_err(|_| Reason::NotReplayable)?;
        Ok(Box::pin(Attempt::start(scope, || run)))
    }

    fn found(&self, answer: Answer<T>) -> Found<T> {
        let provider = &self.chain.providers[self.next];
        let position = self.failures.len();
        let latency = self.started.elapsed();
        let source = provider.name().clone();
        let Some(first) = self.failures.first() else {
            let freshness = answer.freshness().unwrap_or(Freshness::Fresh);
            let value = answer.into_value();
            return Found { value, source, latency, is_fallback: false, freshness, degradation: None };
        };
        let freshness = provider.assess(&answer);
        let chain = &self.chain.name;
        let degradation = Degradation::new(chain.clone(), source.clone(), position, first.reason, freshness);
        scope::report(degradation.clone());
        telemetry::activated(&degradation, latency);
        let value = answer.into_value();
        Found { value, source, latency, is_fallback: true, freshness, degradation: Some(degradation) }
    }

    /// What to say when none is left.
    pub(crate) fn into_failed(self) -> AllProvidersFailed {
        let failed = AllProvidersFailed::new(self.chain.name.clone(), self.failures, self.retry_after);
        telemetry::exhausted(&failed);
        failed
    }
}
