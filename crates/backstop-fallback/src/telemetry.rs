//! Events and metrics. They contain nothing of a request.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use backstop_core::{Degradation, Name, Reason};
use tokio::time::Instant;

use crate::{
    AllProvidersFailed, FallbackResult, Forcing,
    control::Control,
    episode::{Line, Summary},
    miss::{Miss, ProviderMiss},
};

/// When a request arrived. Empty without the feature `metrics`.
pub(crate) use recorder::CallStart;

/// A chain was built.
pub(crate) fn built(chain: &Name) {
    recorder::healthy(chain);
}

/// The primary answered.
pub(crate) fn primary_answered(chain: &Control, primary: &Name, called: CallStart) {
    recorder::answered(chain.name(), primary, || called.elapsed());
    fresh(chain);
}

/// The first provider in a handler blamed the request: that is an answer.
pub(crate) fn primary_refused(chain: &Control, primary: &Name, started: Instant) {
    recorder::answered(chain.name(), primary, || started.elapsed());
    fresh(chain);
}

/// An upgrade goes only to the primary.
pub(crate) fn passed_by(chain: &Name) {
    tracing::debug!(target: "backstop::fallback", %chain, reason = %"upgrade", "a request passes by the chain");
}

/// A provider answered, the first or another one.
///
/// `latency` is computed only if it is needed: nothing else on the healthy path reads the clock.
pub(crate) fn answered(chain: &Name, provider: &Name, latency: impl FnOnce() -> Duration) {
    recorder::answered(chain, provider, latency);
}

/// The answer is the primary's.
#[inline]
pub(crate) fn fresh(chain: &Control) {
    if let Some(line) = chain.episodes.fresh() {
        log_episode(chain.name(), line);
    }
}

/// Another provider than the first one answered.
pub(crate) fn activated<T>(chain: &Control, degradation: &Degradation, result: &FallbackResult<T>) {
    recorder::activated(chain.name(), degradation.source());
    // A forced answer doesn't mean an outage.
    let line = match degradation.reason() {
        Reason::FORCED => None,
        // Why the first one gave no answer.
        reason => chain.episodes.degraded(degradation.source(), reason),
    };
    let chain = chain.name();
    macro_rules! event {
        ($level:ident, $text:literal) => {
            tracing::$level!(
                target: "backstop::fallback",
                %chain,
                provider = %degradation.source(),
                position = degradation.position(),
                reason = %degradation.reason(),
                freshness = %degradation.freshness(),
                latency = ?result.latency,
                error = result.failures.first().and_then(|first| first.error.as_deref()),
                $text
            )
        };
    }
    match line {
        Some(Line::Began) => {
            recorder::degraded_since_now(chain);
            event!(warn, "a fallback answers");
        }
        line => {
            event!(debug, "a fallback answered");
            if let Some(line) = line {
                log_episode(chain, line);
            }
        }
    }
}

/// No provider answered.
pub(crate) fn exhausted(chain: &Control, failed: &AllProvidersFailed) {
    recorder::exhausted(chain.name());
    let line = chain.episodes.exhausted(failed.failures().first().map_or(Reason::ERROR, |first| first.reason));
    let chain = chain.name();
    let not_eligible = failed.failures().iter().find(|failure| failure.reason == Reason::NOT_ELIGIBLE);
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                target: "backstop::fallback",
                %chain,
                failed = %failed.rejection(),
                error = failed.failures().first().and_then(|first| first.error.as_deref()),
                not_eligible = not_eligible.and_then(|failure| failure.error.as_deref()),
                "no provider answered"
            )
        };
    }
    match line {
        Some(line @ (Line::Began | Line::Exhausted)) => {
            if line == Line::Began {
                recorder::degraded_since_now(chain);
            }
            event!(warn);
        }
        line => {
            event!(debug);
            if let Some(line) = line {
                log_episode(chain, line);
            }
        }
    }
}

/// An episode of degraded answers goes on or ends. Its beginning is logged with the answer.
#[cold]
fn log_episode(chain: &Name, line: Line) {
    macro_rules! event {
        ($level:ident, $summary:ident, $text:literal) => {{
            let Summary { calls, degraded, exhausted, last_minute, duration } = $summary;
            tracing::$level!(
                target: "backstop::fallback",
                %chain, calls, degraded, exhausted, last_minute, ?duration, $text
            )
        }};
    }
    match line {
        Line::Continues(summary) => event!(info, summary, "fallbacks still answer"),
        Line::Rose(summary) => event!(warn, summary, "fallbacks answer a larger share"),
        Line::Ended(summary) => {
            recorder::healthy(chain);
            event!(info, summary, "the primary answers again");
        }
        Line::Began | Line::Exhausted => {}
    }
}

/// No provider of the chain was ever asked.
pub(crate) fn never_eligible(chain: &Name) {
    tracing::warn!(
        target: "backstop::fallback",
        %chain,
        "no provider was ever eligible: all requests that failed may have been processed; mark providers \
         `even_if_processed`, or say which requests are safe to repeat: by `Repeat::Safe`, `repeat_if` or `repeat_only_if`"
    );
}

/// An operator started or stopped forcing a provider.
pub(crate) fn forcing(chain: &Name, forcing: Option<&Forcing>) {
    let (provider, share) = forcing.map(|it| (tracing::field::display(&it.provider), it.share)).unzip();
    tracing::info!(target: "backstop::fallback", %chain, provider, share, "the forced provider was set");
}

/// A forced provider has no answer. The first time is a warning.
pub(crate) fn forced_provider_failed(chain: &Control, provider: &Name, failed: &ProviderMiss) {
    let ProviderMiss { miss: Miss { reason, .. }, error } = failed;
    let is_first = !chain.forced_failure_logged.swap(true, Relaxed);
    let chain = chain.name();
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                target: "backstop::fallback",
                %chain,
                %provider,
                %reason,
                error = error.as_deref(),
                "a forced provider did not answer; the primary is asked"
            )
        };
    }
    if is_first { event!(warn) } else { event!(debug) }
}

#[cfg(not(feature = "metrics"))]
mod recorder {
    use super::{Duration, Name};

    #[derive(Clone, Copy)]
    pub(crate) struct CallStart;

    impl CallStart {
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
    pub(super) const fn degraded_since_now(_: &Name) {}
    pub(super) const fn healthy(_: &Name) {}
}

/// Counts through the facade `metrics`. Handles are looked up on each use, because the recorder may be installed later.
#[cfg(feature = "metrics")]
mod recorder {
    use std::borrow::Cow;

    use tokio::time::Instant;

    use super::{Duration, Name};

    #[derive(Clone, Copy)]
    pub(crate) struct CallStart(Instant);

    impl CallStart {
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

    #[expect(clippy::disallowed_types, reason = "dashboards compare it with their own clock")]
    pub(super) fn degraded_since_now(chain: &Name) {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        set_degraded_since(chain, now.unwrap_or_default());
    }

    pub(super) fn healthy(chain: &Name) {
        set_degraded_since(chain, Duration::ZERO);
    }

    fn set_degraded_since(chain: &Name, since: Duration) {
        metrics::gauge!("fallback_degraded_since_seconds", "chain_name" => label(chain)).set(since.as_secs_f64());
    }

    /// A literal name isn't copied.
    fn label(name: &Name) -> Cow<'static, str> {
        name.clone().into()
    }
}
