//! What the layer tells an operator.

use std::time::Duration;

use backstop_core::{Name, Progress, SetBy};

pub(crate) fn rejected(name: &Name, limit: Duration, set_by: SetBy, progress: Progress) {
    let set_by = match set_by {
        SetBy::Us => "us",
        SetBy::Caller => "caller",
    };
    let progress = match progress {
        Progress::NotAsked => "not-asked",
        Progress::NotReady => "not-ready",
        Progress::Called => "called",
    };
    tracing::debug!(target: "backstop::timeout", %name, ?limit, set_by, progress, "a call took too long");
}
