//! Metrics of the layer, with the feature `metrics`.

use backstop_core::{Name, Reason};
use backstop_kit::telemetry::{Metric, Series};

use crate::StopReason;

const REQUESTS: Metric = Metric::counter("retry_requests_total", "Requests that came to the retry layer");
const ATTEMPTS: Metric =
    Metric::counter("retry_attempts_total", "Attempts beyond the first, by what went wrong before");
const SKIPPED: Metric = Metric::counter(
    "retry_skipped_total",
    "Results that are no success and were returned, by why there was no other attempt",
);

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [REQUESTS, ATTEMPTS, SKIPPED].iter().for_each(Metric::describe);
}

/// The requests of a layer. Made once, so that counting one allocates nothing.
pub(crate) fn requests(name: &Name) -> Series {
    Series::new(&REQUESTS, [("name", name.into())])
}

pub(crate) fn retrying(name: &Name, reason: Reason) {
    Series::new(&ATTEMPTS, [("name", name.into()), ("reason", reason.into())]).increment();
}

pub(crate) fn stopped(name: &Name, stop: StopReason) {
    Series::new(&SKIPPED, [("name", name.into()), ("reason", stop.as_str().into())]).increment();
}
