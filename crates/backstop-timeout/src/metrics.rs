//! The metric of the layers, with the feature `metrics`.

use backstop_core::Name;
use backstop_kit::telemetry::{Metric, Series};

const EXCEEDED: Metric = Metric::counter("deadline_exceeded_total", "Calls that took too long");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    EXCEEDED.describe();
}

pub(crate) fn exceeded(name: &Name) {
    Series::new(&EXCEEDED, [("name", name.into())]).increment();
}
