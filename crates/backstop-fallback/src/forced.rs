//! A provider that is asked before the primary, because an operator wants it exercised.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Outcome, Reason};
use backstop_kit::{CopyAs, Judge, NotCopied, RequestFacts, proof::Frame};
use tokio::time::Instant;

use crate::{
    FallbackResult, ProvenBy,
    chain::{settings::Settings, shared::Chain},
    found::{Found, Substitution},
    provider_call::ProviderCall,
    share::next_deadline,
    telemetry,
};

/// A request at a forced provider.
///
/// The provider has a copy. If it fails, the request itself goes to the primary as usual.
pub(crate) struct Forced<Req, T> {
    chain: Arc<Chain<Req, T>>,
    provider: usize,
    /// Its position, the primary included.
    position: usize,
    started: Instant,
    call: ProviderCall<T>,
}

impl<Req, T> Forced<Req, T> {
    /// Starts the provider, if it has room. `primaries` is 1 if the primary isn't one of the chain's own providers.
    pub(crate) fn start(
        chain: &Arc<Chain<Req, T>>,
        settings: &Settings,
        provider: usize,
        primaries: usize,
        started: Instant,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Option<Self> {
        let source = &chain.providers[provider];
        chain.control.drills.interrupt();
        // Its share of the time is that of an additional first provider.
        let left = (chain.providers.len() + primaries + 1) as u32;
        let deadline = next_deadline(Instant::now(), settings.limit(started), left, settings.timeout_of(provider));
        let call = ProviderCall::start(chain, source, settings.concurrency_of(provider), deadline, frame, copy)
            .inspect_err(|failed| telemetry::forced_provider_failed(&chain.control, source.name(), failed))
            .ok()?;
        Some(Self { chain: Arc::clone(chain), provider, position: provider + primaries, started, call })
    }

    /// The provider's answer, if it has one.
    pub(crate) fn poll<J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        request: RequestFacts,
    ) -> Poll<Option<Found<T>>> {
        let provider = &self.chain.providers[self.provider];
        let polled = self.call.poll(cx, judge, request, Outcome::answers_for_another, &self.chain);
        let answer = match ready!(polled) {
            Ok(answer) => answer,
            Err(failed) => {
                telemetry::forced_provider_failed(&self.chain.control, provider.name(), &failed);
                return Poll::Ready(None);
            }
        };
        if self.call.is_proven() {
            self.chain.control.proofs.prove(self.provider, ProvenBy::Forced);
        }
        let freshness = provider.assess(&answer);
        let result = FallbackResult {
            value: answer.into_value(),
            source: provider.name().clone(),
            latency: self.started.elapsed(),
            provider_latency: self.call.elapsed(),
            is_fallback: true,
            freshness,
            failures: Vec::new(),
        };
        let instead = Substitution { position: self.position, reason: Reason::FORCED };
        Poll::Ready(Some(Found::publish(&self.chain.control, result, Some(instead))))
    }
}
