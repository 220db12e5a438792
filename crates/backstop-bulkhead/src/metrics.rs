//! Metrics of the layer, with the feature `metrics`.

use backstop_core::Name;
use backstop_kit::telemetry::{self, Metric, Series};

const IN_USE: Metric = Metric::gauge("bulkhead_in_use", "Permits in use");
const REJECTIONS: Metric = Metric::counter("bulkhead_rejections_total", "Calls that a bulkhead refused");
const HELD_TOO_LONG: Metric = Metric::counter(
    "bulkhead_held_too_long_total",
    "Response bodies that lost their permits because they took too long",
);

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    [IN_USE, REJECTIONS, HELD_TOO_LONG].iter().for_each(Metric::describe);
}

/// The series of a layer.
#[derive(Debug)]
pub(crate) struct Metrics {
    in_use: Series,
    rejections: Series,
    held_too_long: Series,
}

impl Metrics {
    pub(crate) fn new(name: &Name) -> Self {
        let series = |metric| Series::new(metric, [("name", name.into())]);
        Self { in_use: series(&IN_USE), rejections: series(&REJECTIONS), held_too_long: series(&HELD_TOO_LONG) }
    }

    pub(crate) fn refused(&self) {
        self.rejections.increment();
    }

    pub(crate) fn held_too_long(&self) {
        self.held_too_long.increment();
    }

    /// Two threads may write at once. Each reads the number again after its write, and writes again if it has changed, so that
    /// the last write is the current number.
    #[inline]
    pub(crate) fn show_in_use(&self, now: impl Fn() -> u32) {
        if !telemetry::ENABLED {
            return;
        }
        loop {
            let shown = now();
            self.in_use.set(f64::from(shown));
            if now() == shown {
                return;
            }
        }
    }
}
