//! Asks a chain's providers one after another, until one answers or none is left.
//!
//! | the provider | goes to |
//! |---|---|
//! | gives what the classifier calls an answer | the end: found |
//! | is the first one in a handler, and fails with an error that blames the request | the end: that error |
//! | fails with an error that [ends the chain](Outcome::ends_chain) | the end: no provider has answered |
//! | gives another response, fails, or takes longer than its share | the next provider |
//! | isn't [`even_if_processed`](Provider::even_if_processed), and the rule doesn't allow the request to be sent again | the next provider, without being asked |
//! | is [`only_if_processed`](Provider::only_if_processed), and the request certainly wasn't | the next provider, without being asked |
//! | is declined by its `only_when` | the next provider, without being asked |
//! | is declined by its `only_if` | the next provider, without being asked |
//! | has no permit left | the next provider, without being asked |
//! | needs a request that can't be copied | the next provider, without being asked |
//!
//! From the second provider on, only a success is an answer: a cache that answers 404 is a miss. Behind a layer, 206, 304 and 101
//! are misses, too: a provider's copy of the request has no range, no condition of a read, and no upgrade.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, Freshness, Name, Outcome, Pushback, Reason};
use backstop_kit::{Answer, CopyAs, Judge, NotCopied, RequestFacts, Snapshot, proof, proof::Frame};
use tokio::time::Instant;

use crate::{
    AllProvidersFailed, FallbackResult, ProvenBy, ProviderFailure,
    chain::{settings::Settings, shared::Chain},
    found::{Found, Substitution},
    miss::{Miss, ProviderMiss},
    provider_call::ProviderCall,
    share::next_deadline,
    telemetry,
};

/// Why a provider isn't asked after the request may have been processed, and what changes that.
const POSSIBLY_PROCESSED: &str = "the request may have been processed (a refused connection proves the contrary only of \
    a client inside `client(…)`); mark this provider `even_if_processed`, mark those before it `only_reads` if they change \
    nothing, or say that such requests are safe to repeat: by `Repeat::Safe`, `repeat_if` or `repeat_only_if`";

/// The position of a request in its chain.
pub(crate) struct Walk<Req, T> {
    chain: Arc<Chain<Req, T>>,
    settings: Snapshot<Settings>,
    started: Instant,
    limit: Deadline,
    request: RequestFacts,
    /// Why the providers so far didn't answer. A layer's primary comes first.
    failures: Vec<ProviderFailure>,
    /// The earliest time at which one of them may be tried again.
    again_at: Option<Instant>,
    /// Whether the primary or a provider may have processed the request.
    may_be_processed: bool,
    /// Whether the rule still allows the request to be sent again.
    may_repeat: bool,
    /// How many providers weren't asked because of that.
    not_eligible: usize,
    /// The first provider's error blames the request. Then it is the answer, and no other provider is asked.
    is_callers_fault: bool,
    /// A provider's error allows no other provider to be asked.
    is_ended: bool,
    /// The index of the next provider, or of the one that is running.
    next: usize,
    running: Option<ProviderCall<T>>,
}

impl<Req, T> Walk<Req, T> {
    /// Before all of a chain's own providers, for a request that began at `started`.
    pub(crate) fn new(
        chain: Arc<Chain<Req, T>>,
        settings: Snapshot<Settings>,
        started: Instant,
        request: RequestFacts,
    ) -> Self {
        Self {
            limit: chain.settings(&settings).limit(started),
            chain,
            settings,
            started,
            request,
            failures: Vec::new(),
            again_at: None,
            may_be_processed: false,
            may_repeat: true,
            not_eligible: 0,
            is_callers_fault: false,
            is_ended: false,
            next: 0,
            running: None,
        }
    }

    /// When the time of all providers is up.
    pub(crate) const fn limit(&self) -> Deadline {
        self.limit
    }

    /// Notes that `provider` gave no answer.
    pub(crate) fn record_failure(&mut self, provider: Name, failed: ProviderMiss) {
        let ProviderMiss { miss: Miss { reason, outcome }, error } = failed;
        self.failures.push(ProviderFailure::new(provider, reason).with_error(error));
        if let Some(Pushback::After(wait)) = outcome.pushback {
            // `None` if the wait overflows the clock.
            let again_at = Instant::now().checked_add(wait);
            self.again_at = self.again_at.into_iter().chain(again_at).min();
        }
    }

    /// Notes that the request was sent, with this outcome.
    pub(crate) fn record_sent(&mut self, outcome: &Outcome) {
        self.may_be_processed |= !outcome.unprocessed;
        self.may_repeat &= self.chain.repeat.allows(self.request, outcome);
    }

    /// Asks providers until there is an answer. `None` if none is left. Their calls are made in `frame`.
    pub(crate) fn poll<J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        frame: &mut Frame,
        mut copy: impl FnMut(CopyAs) -> Result<Req, NotCopied>,
    ) -> Poll<Option<Found<T>>> {
        while self.next < self.chain.providers.len() {
            let failed = match &mut self.running {
                None => match self.start(frame, &mut copy) {
                    Ok(call) => {
                        self.running = Some(call);
                        continue;
                    }
                    Err(failed) => {
                        // Otherwise it wasn't asked.
                        if !failed.miss.outcome.unprocessed && !self.chain.providers[self.next].processes_nothing() {
                            self.record_sent(&failed.miss.outcome);
                        }
                        failed
                    }
                },
                Some(call) => {
                    let is_first = self.failures.is_empty();
                    let accepts = if is_first { Outcome::answers } else { Outcome::answers_for_another };
                    let processes_nothing = self.chain.providers[self.next].processes_nothing();
                    let mut poll = || call.poll(cx, judge, self.request, accepts, &self.chain);
                    frame.listen();
                    // A provider that processes nothing may make any calls.
                    let polled = if processes_nothing { proof::processing_nothing(poll) } else { poll() };
                    let Poll::Ready(result) = polled else {
                        frame.waits();
                        return Poll::Pending;
                    };
                    match result {
                        Ok(answer) => {
                            let latency = call.elapsed();
                            if !is_first && call.is_proven() {
                                self.chain.control.proofs.prove(self.next, ProvenBy::Activation);
                            }
                            self.running = None;
                            return Poll::Ready(Some(self.found(answer, latency)));
                        }
                        Err(failed)
                            if failed.miss.outcome.ends_chain || (is_first && failed.miss.outcome.answers()) =>
                        {
                            self.running = None;
                            self.is_ended = failed.miss.outcome.ends_chain;
                            self.is_callers_fault = !self.is_ended;
                            self.record_failure(self.chain.providers[self.next].name().clone(), failed);
                            self.next = self.chain.providers.len();
                            break;
                        }
                        Err(failed) => {
                            let outcome = failed.miss.outcome.or_unprocessed(frame.ended());
                            if !processes_nothing {
                                self.record_sent(&outcome);
                            }
                            failed
                        }
                    }
                }
            };
            self.running = None;
            self.record_failure(self.chain.providers[self.next].name().clone(), failed);
            self.next += 1;
        }
        Poll::Ready(None)
    }

    fn start(
        &mut self,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Result<ProviderCall<T>, ProviderMiss> {
        let provider = &self.chain.providers[self.next];
        if !self.may_repeat && !provider.is_even_if_processed() {
            self.not_eligible += 1;
            let error = Some(POSSIBLY_PROCESSED.into());
            return Err(ProviderMiss { error, ..ProviderMiss::not_asked(Reason::NOT_ELIGIBLE) });
        }
        if provider.is_only_if_processed() && !self.may_be_processed {
            return Err(ProviderMiss::not_asked(Reason::NOT_ELIGIBLE));
        }
        if !self.failures.first().is_none_or(|first| provider.is_for(first.reason)) {
            return Err(ProviderMiss::not_asked(Reason::NOT_ELIGIBLE));
        }
        self.chain.control.eligibility.asked();
        if !self.failures.is_empty() {
            self.chain.control.drills.interrupt();
        }
        let settings = self.chain.settings(&self.settings);
        let left = (self.chain.providers.len() - self.next) as u32;
        let deadline = next_deadline(Instant::now(), self.limit, left, settings.timeout_of(self.next));
        // A provider that processes nothing has nothing to prove.
        let frame = if provider.processes_nothing() { &mut Frame::detached() } else { frame };
        ProviderCall::start(&self.chain, provider, settings.concurrency_of(self.next), deadline, frame, copy)
    }

    fn found(&mut self, answer: Answer<T>, provider_latency: Duration) -> Found<T> {
        let provider = &self.chain.providers[self.next];
        let freshness = match self.failures.first() {
            None => answer.freshness().unwrap_or(Freshness::Fresh),
            Some(_) => provider.assess(&answer),
        };
        self.answered(provider.name().clone(), answer.into_value(), freshness, provider_latency)
    }

    /// Notes that `source` gave the answer, in this time.
    pub(crate) fn answered(
        &mut self,
        source: Name,
        value: T,
        freshness: Freshness,
        provider_latency: Duration,
    ) -> Found<T> {
        let failures = mem::take(&mut self.failures);
        let instead = failures.first().map(|first| Substitution { position: failures.len(), reason: first.reason });
        let latency = self.started.elapsed();
        let is_fallback = instead.is_some();
        let result = FallbackResult { value, source, latency, provider_latency, is_fallback, freshness, failures };
        Found::publish(&self.chain.control, result, instead)
    }

    /// The error, if no provider is left.
    pub(crate) fn into_failed(self) -> AllProvidersFailed {
        if self.is_callers_fault {
            if let Some(first) = self.failures.first() {
                telemetry::primary_refused(&self.chain.control, &first.provider, self.started);
            }
            return AllProvidersFailed::of_callers_fault(self.chain.name.clone(), self.failures);
        }
        if self.not_eligible == self.chain.providers.len() && self.chain.control.eligibility.none_eligible() {
            telemetry::never_eligible(&self.chain.name);
        }
        let retry_after = self.again_at.map(|at| at.saturating_duration_since(Instant::now()));
        let failed = if self.is_ended { AllProvidersFailed::ended } else { AllProvidersFailed::new };
        let failed = failed(self.chain.name.clone(), self.failures, retry_after);
        telemetry::exhausted(&self.chain.control, &failed);
        failed
    }
}
