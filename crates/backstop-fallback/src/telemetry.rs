//! What the chain tells an operator. Nothing of a request is in it.

use std::time::Duration;

use backstop_core::{AllProvidersFailed, Degradation, Name, Reason};

use crate::Forcing;

/// Another provider than the first one answered.
pub(crate) fn activated(degradation: &Degradation, latency: Duration) {
    tracing::warn!(
        target: "backstop::fallback",
        chain = %degradation.chain(),
        provider = %degradation.source(),
        position = degradation.position(),
        reason = %degradation.reason(),
        freshness = %degradation.freshness(),
        ?latency,
        "a fallback answered"
    );
}

/// No provider answered.
pub(crate) fn exhausted(failed: &AllProvidersFailed) {
    tracing::warn!(target: "backstop::fallback", chain = %failed.chain(), %failed, "no provider answered");
}

/// An operator has a provider exercised, or ends that.
pub(crate) fn forcing(chain: &Name, forcing: Option<&Forcing>) {
    let (provider, share) = forcing.map(|it| (tracing::field::display(&it.provider), it.share)).unzip();
    tracing::info!(target: "backstop::fallback", %chain, provider, share, "the forced provider was set");
}

/// A provider that is being exercised has no answer.
pub(crate) fn forced_in_vain(chain: &Name, provider: &Name, reason: Reason) {
    tracing::warn!(
        target: "backstop::fallback",
        %chain,
        %provider,
        %reason,
        "a forced provider did not answer; the primary is asked"
    );
}
