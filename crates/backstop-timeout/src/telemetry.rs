//! Events and the metric. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{Name, Rejection};
use backstop_kit::{Elapsed, RequestFailure};

use crate::header::{DeadlineHeader, Unreadable};

/// Makes and records the rejection of a call whose time was up. `limit` is the layer's own, if it has one.
pub(crate) fn rejection(name: &Name, limit: Option<Duration>, elapsed: Elapsed) -> Rejection {
    let Elapsed { set_by, progress, .. } = elapsed;
    let limit = limit.map(tracing::field::debug);
    tracing::debug!(
        target: "backstop::timeout",
        %name, limit, set_by = set_by.as_str(), progress = progress.as_str(), "a call took too long"
    );
    recorder::exceeded(name);
    elapsed.rejection(name.clone())
}

/// Records that the body of a request failed.
pub(crate) fn upload_failed(name: &Name, failure: RequestFailure) {
    let reason = if failure == RequestFailure::TooLarge { "too-large" } else { "broken" };
    tracing::debug!(target: "backstop::timeout", %name, reason, "a request body failed");
}

/// Records that a caller's `header` can't be read.
pub(crate) fn ignored(name: &Name, header: &DeadlineHeader, why: Unreadable) {
    let reason = match why {
        Unreadable::Malformed => "malformed",
        Unreadable::Contradictory => "contradictory",
    };
    let header = header.name().as_str();
    tracing::debug!(target: "backstop::timeout", %name, header, reason, "a caller's time limit was ignored");
}

#[cfg(not(feature = "metrics"))]
mod recorder {
    pub(super) const fn exceeded(_: &super::Name) {}
}

/// Counts through the facade `metrics`. The handle is looked up on each use, so that a recorder that is installed later
/// counts from then on.
#[cfg(feature = "metrics")]
mod recorder {
    pub(super) fn exceeded(name: &super::Name) {
        metrics::counter!("deadline_exceeded_total", "name" => name.to_string()).increment(1);
    }
}
