//! Events. They contain nothing of a request.

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use backstop_core::{Degradation, Name, OperationRequest, Reason, Value};
use backstop_kit::{
    episode::{Line, Summary},
    operation_fields,
    telemetry::{self, millis},
};
use tokio::time::Instant;

use crate::{
    AllProvidersFailed, FallbackResult, Forcing,
    control::Control,
    drill::DrillResult,
    metrics,
    miss::{Miss, ProviderMiss},
};

pub(crate) const KIND: &str = "fallback";

/// A chain was built.
pub(crate) fn built(chain: &Name) {
    metrics::healthy(chain);
}

/// The first provider in a handler blamed the request: that is an answer.
pub(crate) fn primary_refused(chain: &Control, primary: &Name, started: Instant) {
    answered(chain, primary, || started.elapsed());
    fresh(chain);
}

/// An upgrade goes only to the primary.
pub(crate) fn passed_by(chain: &Name) {
    tracing::debug!(target: "backstop::fallback", %chain, reason = %"upgrade", "a request passes by the chain");
}

/// A provider answered, the first or another one.
///
/// `latency` is computed only if it is needed: nothing else on the healthy path reads the clock.
#[inline]
pub(crate) fn answered(chain: &Control, provider: &Name, latency: impl FnOnce() -> Duration) {
    if telemetry::ENABLED {
        match chain.latency_of(provider) {
            Some(series) => series.record(latency()),
            // The default of a chain that can't fail.
            None => metrics::latency(chain.name(), provider).record(latency()),
        }
    }
}

/// Records a change in the log of an inventory.
fn record(chain: &Control, fields: impl FnOnce() -> Vec<(&'static str, Value)>) {
    if let Some(log) = chain.log.get() {
        log.push(chain.name().clone(), KIND, fields());
    }
}

/// The answer is the primary's.
#[inline]
pub(crate) fn fresh(chain: &Control) {
    if let Some(line) = chain.episodes.fresh() {
        log_episode(chain, line);
    }
}

/// Another provider than the first one answered.
pub(crate) fn activated<T>(chain: &Control, degradation: &Degradation, result: &FallbackResult<T>) {
    metrics::activated(chain.name(), degradation.source());
    // A forced answer doesn't mean an outage.
    let line = match degradation.reason() {
        Reason::FORCED => None,
        // Why the first one gave no answer.
        reason => chain.episodes.degraded(degradation.source(), reason),
    };
    macro_rules! event {
        ($level:ident, $text:literal) => {
            tracing::$level!(
                target: "backstop::fallback",
                chain = %chain.name(),
                provider = %degradation.source(),
                position = degradation.position(),
                reason = %degradation.reason(),
                freshness = %degradation.freshness(),
                latency_ms = millis(result.latency),
                error = result.failures.first().and_then(|first| first.error.as_deref()),
                $text
            )
        };
    }
    match line {
        Some(Line::Began) => {
            metrics::degraded_since_now(chain.name());
            event!(warn, "a fallback answers");
            let (provider, reason) = (degradation.source().into(), degradation.reason().into());
            record(chain, || vec![("degraded", true.into()), ("provider", provider), ("reason", reason)]);
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
    metrics::exhausted(chain.name());
    let reason = failed.failures().first().map_or(Reason::ERROR, |first| first.reason);
    let line = chain.episodes.exhausted(reason);
    let not_eligible = failed.failures().iter().find(|failure| failure.reason == Reason::NOT_ELIGIBLE);
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                target: "backstop::fallback",
                chain = %chain.name(),
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
                metrics::degraded_since_now(chain.name());
            }
            event!(warn);
            record(chain, || vec![("degraded", true.into()), ("provider", Value::None), ("reason", reason.into())]);
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
fn log_episode(chain: &Control, line: Line) {
    macro_rules! event {
        ($level:ident, $summary:ident, $text:literal $(, $field:ident = $value:expr)?) => {{
            let Summary { calls, degraded, exhausted, last_minute, duration } = $summary;
            tracing::$level!(
                target: "backstop::fallback",
                chain = %chain.name(), calls, degraded, exhausted, last_minute, duration_ms = millis(duration),
                $($field = $value,)? $text
            )
        }};
    }
    match line {
        Line::Continues(summary) => event!(info, summary, "fallbacks still answer"),
        Line::Rose(summary) => event!(warn, summary, "fallbacks answer a larger share"),
        Line::Ended(summary, quiet) => {
            metrics::healthy(chain.name());
            let Summary { calls, degraded, exhausted, duration, .. } = summary;
            event!(info, summary, "the primary answers again", since_ms = millis(quiet));
            record(chain, || {
                vec![
                    ("degraded", false.into()),
                    ("duration", duration.into()),
                    ("calls", calls.into()),
                    ("degraded_answers", degraded.into()),
                    ("unanswered", exhausted.into()),
                ]
            });
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
pub(crate) fn forcing(chain: &Control, forcing: Option<&Forcing>, request: Option<&OperationRequest>) {
    let (provider, share) = forcing.map(|it| (tracing::field::display(&it.provider), it.share)).unzip();
    let (who, why) = request.map(|request| (request.who(), request.reason())).unzip();
    tracing::info!(
        target: "backstop::fallback",
        chain = %chain.name(), provider, share, who, reason = why, "the forced provider was set"
    );
    record(chain, || {
        let mut fields = request.map(operation_fields).unwrap_or_default();
        let (provider, share) = forcing.map(|it| (&it.provider, it.share)).unzip();
        fields.extend([("forced", provider.into()), ("forced_share", share.into())]);
        fields
    });
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

/// A drill has ended. Its first failure is a warning, and the first answer after that is told.
pub(crate) fn drilled(chain: &Control, provider: usize, result: &DrillResult) {
    let (Some(name), Some(failed)) = (chain.providers.get(provider), chain.drill_failed.get(provider)) else { return };
    macro_rules! event {
        ($level:ident, $text:literal $(, $field:ident = $value:expr)*) => {
            tracing::$level!(
                target: "backstop::fallback",
                chain = %chain.name(), provider = %name, $($field = $value,)* $text
            )
        };
    }
    let result = match result {
        DrillResult::Answered => {
            if failed.swap(false, Relaxed) {
                event!(info, "a provider answers drills again");
            } else {
                event!(debug, "a provider answered a drill");
            }
            "answered"
        }
        DrillResult::Failed(ProviderMiss { miss: Miss { reason, .. }, error }) => {
            let (reason, error) = (tracing::field::display(reason), error.as_deref());
            if failed.swap(true, Relaxed) {
                event!(debug, "a provider did not answer a drill", reason = reason, error = error);
            } else {
                event!(warn, "a provider did not answer a drill", reason = reason, error = error);
            }
            "failed"
        }
        DrillResult::Skipped(reason) => {
            event!(debug, "a drill was skipped", reason = tracing::field::display(reason));
            "skipped"
        }
        DrillResult::Interrupted => {
            event!(debug, "a live request took precedence over a drill");
            "interrupted"
        }
    };
    metrics::drilled(chain.name(), name, result);
}
