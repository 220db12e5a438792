//! Events. They contain nothing of a request.

use backstop_core::{Name, Reason, name};
use backstop_kit::{
    episode::{Line, Summary},
    telemetry::millis,
};

use crate::{metrics::PartResult, part::Miss, stats::PartStats};

/// The value that takes a part's place, as a provider of its episode.
const DEFAULT: Name = name!("default");

/// A part answered.
#[inline]
pub(crate) fn answered(aggregate: &Name, part: &PartStats) {
    part.series.count(PartResult::Answered);
    if let Some(line) = part.episodes.fresh() {
        log_episode(aggregate, &part.part, line);
    }
}

/// A part was replaced or left out.
#[cold]
pub(crate) fn replaced(aggregate: &Name, part: &PartStats, name: &Name, miss: &Miss) {
    part.series.count(PartResult::Replaced);
    failed(aggregate, part, part.episodes.degraded(&DEFAULT, miss.reason), miss, name, "a part of a page is missing");
}

/// A required part failed, and the page with it.
#[cold]
pub(crate) fn page_failed(aggregate: &Name, part: &PartStats, name: &Name, miss: &Miss) {
    part.series.count(PartResult::Failed);
    failed(aggregate, part, part.episodes.exhausted(miss.reason), miss, name, "a page failed with a required part");
}

/// A part isn't needed any more, because another one failed.
pub(crate) fn unfinished(part: &PartStats) {
    part.series.count(PartResult::Unfinished);
}

fn failed(aggregate: &Name, part: &PartStats, line: Option<Line>, miss: &Miss, name: &Name, text: &'static str) {
    let reason: Reason = miss.reason;
    macro_rules! event {
        ($level:ident) => {
            tracing::$level!(
                target: "backstop::partial",
                %aggregate, part = %name, %reason, error = miss.error.as_deref(), "{text}"
            )
        };
    }
    match line {
        Some(Line::Began | Line::Exhausted) => event!(warn),
        line => {
            event!(debug);
            if let Some(line) = line {
                log_episode(aggregate, &part.part, line);
            }
        }
    }
}

/// An episode of a part's failures goes on or ends. Its beginning is logged with the failure.
#[cold]
fn log_episode(aggregate: &Name, part: &Name, line: Line) {
    macro_rules! event {
        ($level:ident, $summary:ident, $text:literal $(, $field:ident = $value:expr)?) => {{
            let Summary { calls, degraded, exhausted, last_minute, duration } = $summary;
            let (pages, replaced, failed) = (calls, degraded, exhausted);
            tracing::$level!(
                target: "backstop::partial",
                %aggregate, %part, pages, replaced, failed, last_minute, duration_ms = millis(duration),
                $($field = $value,)? $text
            )
        }};
    }
    match line {
        Line::Continues(summary) => event!(info, summary, "a part of pages is still missing"),
        Line::Rose(summary) => event!(warn, summary, "a part is missing from a larger share of pages"),
        Line::Ended(summary, quiet) => event!(info, summary, "a part of pages is back", since_ms = millis(quiet)),
        Line::Began | Line::Exhausted => {}
    }
}
