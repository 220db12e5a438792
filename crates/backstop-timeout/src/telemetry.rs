//! Events. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{Name, Rejection};
use backstop_kit::{Elapsed, RequestFailure, telemetry::millis};

use crate::{
    header::{DeadlineHeader, Unreadable},
    metrics,
};

/// Makes and records the rejection of a call whose time was up. `limit` is the layer's own, if it has one.
pub(crate) fn rejection(name: &Name, limit: Option<Duration>, elapsed: Elapsed) -> Rejection {
    let Elapsed { set_by, progress, .. } = elapsed;
    tracing::debug!(
        target: "backstop::timeout",
        %name, limit_ms = limit.map(millis), set_by = set_by.as_str(), progress = progress.as_str(), "a call took too long"
    );
    metrics::exceeded(name);
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
