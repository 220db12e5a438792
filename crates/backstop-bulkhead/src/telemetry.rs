//! Events. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{Name, SetBy};
use backstop_kit::telemetry::millis;

/// Why a call was refused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Refusal {
    /// The line is full.
    Full,
    /// `max_wait` has passed.
    Waited,
    /// The request's deadline has passed.
    Deadline(SetBy),
}

pub(crate) fn refused(name: &Name, refusal: Refusal, max_concurrent: u32) {
    let reason = match refusal {
        Refusal::Full => "full",
        Refusal::Waited => "waited",
        Refusal::Deadline(_) => "deadline",
    };
    tracing::debug!(target: "backstop::bulkhead", %name, reason, max_concurrent, "there was no room for a call");
}

pub(crate) fn held_too_long(name: &Name, max_hold: Duration) {
    let max_hold_ms = millis(max_hold);
    tracing::debug!(target: "backstop::bulkhead", %name, max_hold_ms, "a response body held its permit for too long");
}
