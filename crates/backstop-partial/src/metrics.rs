//! The metric of the parts, with the feature `metrics`.

use backstop_core::Name;
use backstop_kit::telemetry::{Metric, Series};

const PARTS: Metric = Metric::counter("parts_total", "Parts of pages, by what the page has of them");

/// Gives the installed recorder the description and the unit of each metric of this crate.
#[cfg(feature = "metrics")]
pub fn describe_metrics() {
    PARTS.describe();
}

/// What a page has of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartResult {
    /// Its own value, or the answer that blames the caller.
    Answered,
    /// Another value, or none.
    Replaced,
    /// No page, because this required part failed.
    Failed,
    /// No page, because another part failed.
    Unfinished,
}

const RESULTS: [&str; 4] = ["answered", "replaced", "failed", "unfinished"];

/// The series of a part. Made once, so that a healthy page allocates nothing.
pub(crate) struct PartSeries([Series; RESULTS.len()]);

impl PartSeries {
    pub(crate) fn new(aggregate: &Name, part: &Name) -> Self {
        let series = |result: &'static str| {
            Series::new(&PARTS, [("aggregate", aggregate.into()), ("part", part.into()), ("result", result.into())])
        };
        Self(RESULTS.map(series))
    }

    #[inline]
    pub(crate) fn count(&self, result: PartResult) {
        self.0[result as usize].increment();
    }
}
