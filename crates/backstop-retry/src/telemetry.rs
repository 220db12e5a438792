//! What the layer tells an operator. Nothing of a request is in it.

use std::time::Duration;

use backstop_core::{Name, Reason};

use crate::StopReason;

/// Another attempt will be made, because of `reason`.
pub(crate) fn retrying(name: &Name, attempt: u32, delay: Duration, reason: Reason) {
    tracing::debug!(target: "backstop::retry", %name, attempt, ?delay, %reason, "the request will be sent again");
}

/// No other attempt will be made, though the result was worth it.
pub(crate) fn stopped(name: &Name, attempt: u32, stop: StopReason) {
    let detail = match stop {
        StopReason::NotReplayable(why) => Some(tracing::field::display(why)),
        _ => None,
    };
    tracing::debug!(target: "backstop::retry", %name, attempt, reason = %stop, detail, "the request won't be sent again");
}

/// The last attempt came to nothing: an earlier attempt's answer is returned.
pub(crate) fn gave_last_answer(name: &Name, attempt: u32, reason: StopReason) {
    tracing::debug!(target: "backstop::retry", %name, attempt, %reason, "an earlier attempt's answer is returned");
}
