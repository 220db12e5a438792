//! Metrics, with the feature `metrics`.

use std::time::Duration;

use backstop_core::Name;
use backstop_kit::telemetry::{self, Metric, Series};

const ACTIVATIONS: Metric =
    Metric::counter("fallback_activations_total", "Answers of other providers than the primary");
const LATENCY: Metric =
    Metric::histogram("fallback_latency_seconds", "Time from the request to its answer, by who answered");
const EXHAUSTED: Metric = Metric::counter("fallback_exhausted_total", "Requests that no provider answered");
const DEGRADED_SINCE: Metric = Metric::gauge(
    "fallback_degraded_since_seconds",
    "Unix time at which the running episode of degraded answers began; 0 while none runs",
);

const LAST_PROVEN: Metric =
    Metric::gauge("fallback_last_proven_seconds", "Unix time at which the provider last answered, whoever asked it");
const DRILLS: Metric = Metric::counter("fallback_drills_total", "Drills of providers, by how they ended");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [ACTIVATIONS, LATENCY, EXHAUSTED, DEGRADED_SINCE, LAST_PROVEN, DRILLS].iter().for_each(Metric::describe);
}

/// How long answers of `provider` take. Made once, so that a healthy request allocates nothing.
pub(crate) fn latency(chain: &Name, provider: &Name) -> Series {
    Series::new(&LATENCY, [("chain_name", chain.into()), ("provider_name", provider.into())])
}

/// When `provider` last answered. Absent until it has.
pub(crate) fn last_proven(chain: &Name, provider: &Name) -> Series {
    Series::new(&LAST_PROVEN, [("chain_name", chain.into()), ("provider_name", provider.into())])
}

pub(crate) fn drilled(chain: &Name, provider: &Name, result: &'static str) {
    let labels = [("chain_name", chain.into()), ("provider_name", provider.into()), ("result", result.into())];
    Series::new(&DRILLS, labels).increment();
}

pub(crate) fn activated(chain: &Name, provider: &Name) {
    Series::new(&ACTIVATIONS, [("chain_name", chain.into()), ("provider_name", provider.into())]).increment();
}

pub(crate) fn exhausted(chain: &Name) {
    Series::new(&EXHAUSTED, [("chain_name", chain.into())]).increment();
}

#[expect(clippy::disallowed_types, reason = "dashboards compare it with their own clock")]
pub(crate) fn degraded_since_now(chain: &Name) {
    if telemetry::ENABLED {
        let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
        set_degraded_since(chain, now.unwrap_or_default());
    }
}

pub(crate) fn healthy(chain: &Name) {
    set_degraded_since(chain, Duration::ZERO);
}

fn set_degraded_since(chain: &Name, since: Duration) {
    Series::new(&DEGRADED_SINCE, [("chain_name", chain.into())]).set(since.as_secs_f64());
}
