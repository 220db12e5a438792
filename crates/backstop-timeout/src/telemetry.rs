//! What the layers tell an operator. Nothing of a request is in it.

use std::time::Duration;

use backstop_core::{Elapsed, Name, Progress, Rejection, RejectionKind, RequestFailure, SetBy};

use crate::header::{DeadlineHeader, Unreadable};

/// The rejection of a call whose time was up, told to whoever listens. `limit` is the layer's own, where it has one.
pub(crate) fn rejection(name: &Name, limit: Option<Duration>, elapsed: Elapsed) -> Rejection {
    let Elapsed { set_by, progress, .. } = elapsed;
    let limit = limit.map(tracing::field::debug);
    let whose = match set_by {
        SetBy::Us => "us",
        SetBy::Caller => "caller",
    };
    let how_far = match progress {
        Progress::NotAsked => "not-asked",
        Progress::NotReady => "not-ready",
        Progress::Called => "called",
    };
    tracing::debug!(
        target: "backstop::timeout",
        %name, limit, set_by = whose, progress = how_far, "a call took too long"
    );
    recorder::exceeded(name);
    Rejection::new(name.clone(), RejectionKind::DeadlinePassed { set_by, progress })
}

/// The call of a request whose body failed.
pub(crate) fn upload_failed(name: &Name, failure: RequestFailure) {
    let reason = if failure == RequestFailure::TooLarge { "too-large" } else { "broken" };
    tracing::debug!(target: "backstop::timeout", %name, reason, "a request body failed");
}

/// What a caller sent in `header` can't be read, and isn't believed.
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

/// Counts through the facade `metrics`. The handle is taken when it is used, so that a recorder that is installed later
/// counts from then on. None is taken for a call that is in time.
#[cfg(feature = "metrics")]
mod recorder {
    pub(super) fn exceeded(name: &super::Name) {
        metrics::counter!("deadline_exceeded_total", "name" => name.to_string()).increment(1);
    }
}
