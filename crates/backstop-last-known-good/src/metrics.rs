//! Metrics, with the feature `metrics`.

use backstop_core::Name;
use backstop_kit::telemetry::{Metric, Series};

use crate::NotStored;

const SERVED: Metric = Metric::counter("stale_served_total", "Answers that were served from the store");
const NOT_SERVED: Metric =
    Metric::counter("stale_not_served_total", "Requests for a stored answer for which none was served, by reason");
const STORE: Metric = Metric::counter("stale_store_total", "What happened to each answer of the service, by result");
const STORE_ERRORS: Metric =
    Metric::counter("stale_store_errors_total", "Operations of the store that failed, by operation");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [SERVED, NOT_SERVED, STORE, STORE_ERRORS].iter().for_each(Metric::describe);
}

pub(crate) fn served(name: &Name) {
    Series::new(&SERVED, [("name", name.into())]).increment();
}

pub(crate) fn not_served(name: &Name, reason: NotStored) {
    let reason = match reason {
        NotStored::Missing => "missing",
        NotStored::TooStale => "too-stale",
        NotStored::Method => "method",
        NotStored::StoreFailed => "store-failed",
    };
    Series::new(&NOT_SERVED, [("name", name.into()), ("reason", reason.into())]).increment();
}

pub(crate) fn result(name: &Name, result: &'static str) {
    Series::new(&STORE, [("name", name.into()), ("result", result.into())]).increment();
}

pub(crate) fn store_failed(name: &Name, operation: &'static str) {
    Series::new(&STORE_ERRORS, [("name", name.into()), ("operation", operation.into())]).increment();
}
