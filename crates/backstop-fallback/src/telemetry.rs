//! What the chain tells an operator. Nothing of a request is in it.

use std::time::Duration;

use backstop_core::{AllProvidersFailed, Degradation};

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
