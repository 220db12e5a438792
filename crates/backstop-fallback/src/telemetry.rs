//! What the chain tells an operator. Nothing of a request is in it.

use std::time::Duration;

use backstop_core::{AllProvidersFailed, Degradation, Name, Reason};

use crate::Forcing;

/// When a request came, where the latency of every answer is told: else there is nothing to know.
pub(crate) use recorder::Called;

/// The primary answered.
pub(crate) fn primary_answered(chain: &Name, primary: &Name, called: Called) {
    recorder::answered(chain, primary, || called.elapsed());
}

/// A provider answered, the first one as well as any other.
///
/// `latency` is asked only where it is wanted: on the path of every healthy request nobody else reads the clock.
pub(crate) fn answered(chain: &Name, provider: &Name, latency: impl FnOnce() -> Duration) {
    recorder::answered(chain, provider, latency);
}

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
    recorder::activated(degradation.chain(), degradation.source());
}

/// No provider answered.
pub(crate) fn exhausted(failed: &AllProvidersFailed) {
    tracing::warn!(target: "backstop::fallback", chain = %failed.chain(), %failed, "no provider answered");
    recorder::exhausted(failed.chain());
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

#[cfg(not(feature = "metrics"))]
mod recorder {
    use super::{Duration, Name};

    #[derive(Clone, Copy)]
    pub(crate) struct Called;

    impl Called {
        pub(crate) const fn now() -> Self {
            Self
        }

        pub(super) const fn elapsed(self) -> Duration {
            Duration::ZERO
        }
    }

    pub(super) fn answered(_: &Name, _: &Name, _: impl FnOnce() -> Duration) {}
    pub(super) const fn activated(_: &Name, _: &Name) {}
    pub(super) const fn exhausted(_: &Name) {}
}

/// Counts through the facade `metrics`. Every handle is taken when it is used, so that a recorder that is installed later
/// counts from then on.
#[cfg(feature = "metrics")]
mod recorder {
    use std::borrow::Cow;

    use tokio::time::Instant;

    use super::{Duration, Name};

    #[derive(Clone, Copy)]
    pub(crate) struct Called(Instant);

    impl Called {
        pub(crate) fn now() -> Self {
            Self(Instant::now())
        }

        pub(super) fn elapsed(self) -> Duration {
            self.0.elapsed()
        }
    }

    pub(super) fn answered(chain: &Name, provider: &Name, latency: impl FnOnce() -> Duration) {
        metrics::histogram!("fallback_latency_seconds", "chain_name" => label(chain), "provider_name" => label(provider))
            .record(latency());
    }

    pub(super) fn activated(chain: &Name, provider: &Name) {
        metrics::counter!("fallback_activations_total", "chain_name" => label(chain), "provider_name" => label(provider))
            .increment(1);
    }

    pub(super) fn exhausted(chain: &Name) {
        metrics::counter!("fallback_exhausted_total", "chain_name" => label(chain)).increment(1);
    }

    /// A name that is a literal isn't copied.
    fn label(name: &Name) -> Cow<'static, str> {
        name.clone().into()
    }
}
