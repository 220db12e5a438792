//! A provider that is asked before the primary, because an operator wants it exercised.

use std::{
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Deadline, Outcome, Reason};
use backstop_kit::{CopyAs, Judge, NotCopied, RequestFacts, proof::Frame};
use tokio::time::Instant;

use crate::{
    FallbackResult,
    chain::shared::Chain,
    found::{Found, Substitution},
    provider_call::{Failed, ProviderCall},
    share::next_deadline,
    telemetry,
};

/// A request at the provider that it was forced to.
///
/// Whatever becomes of it, the request can still go its usual way: what the provider has is a copy.
pub(crate) struct Forced<Req, T> {
    chain: Arc<Chain<Req, T>>,
    provider: usize,
    /// The provider's position, as the rest of the chain counts.
    position: usize,
    started: Instant,
    ask: ProviderCall<T>,
}

impl<Req, T> Forced<Req, T> {
    /// Starts the provider, if it has room; `others` can be asked after it.
    pub(crate) fn start(
        chain: &Arc<Chain<Req, T>>,
        provider: usize,
        others: usize,
        started: Instant,
        limit: Deadline,
        frame: &mut Frame,
        copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
    ) -> Option<Self> {
        let source = &chain.providers[provider];
        let deadline = next_deadline(Instant::now(), limit, others as u32 + 1, source.own_timeout());
        let ask = ProviderCall::start(source, deadline, frame, copy)
            .inspect_err(|reason| {
                let failed = Failed::new(*reason, Outcome::neutral().unprocessed());
                telemetry::forced_provider_failed(&chain.control, source.name(), &failed);
            })
            .ok()?;
        let position = provider + others - chain.providers.len();
        Some(Self { chain: Arc::clone(chain), provider, position, started, ask })
    }

    /// The provider's answer; `None` where it has none.
    pub(crate) fn poll<J: Judge<T>>(
        &mut self,
        cx: &mut Context<'_>,
        judge: &J,
        request: RequestFacts,
    ) -> Poll<Option<Found<T>>> {
        let provider = &self.chain.providers[self.provider];
        let Chain { control, committer, error_text, .. } = &*self.chain;
        let polled = self.ask.poll(cx, judge, request, Outcome::answers_for_another, committer.as_ref(), error_text);
        let answer = match ready!(polled) {
            Ok(answer) => answer,
            Err(failed) => {
                telemetry::forced_provider_failed(control, provider.name(), &failed);
                return Poll::Ready(None);
            }
        };
        let freshness = provider.assess(&answer);
        let result = FallbackResult {
            value: answer.into_value(),
            source: provider.name().clone(),
            latency: self.started.elapsed(),
            is_fallback: true,
            freshness,
            failures: Vec::new(),
        };
        let instead = Substitution { position: self.position, reason: Reason::FORCED };
        Poll::Ready(Some(Found::publish(&self.chain.control, result, Some(instead))))
    }
}
