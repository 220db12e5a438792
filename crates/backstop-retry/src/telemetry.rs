//! Events. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{ErrorRef, Name, Reason};
use backstop_kit::{ErrorText, telemetry::millis};

use crate::{StopReason, metrics};

/// An error in an event. Its text is made only if the event is enabled.
#[derive(Clone, Copy)]
pub(crate) struct LoggedError<'a> {
    pub(crate) error: Option<ErrorRef<'a>>,
    pub(crate) text: &'a ErrorText,
}

impl LoggedError<'_> {
    fn text(self) -> Option<String> {
        self.error.and_then(|error| self.text.of(error))
    }
}

/// Another attempt is planned, because of `reason`.
pub(crate) fn retrying(name: &Name, attempt: u32, delay: Duration, reason: Reason, error: LoggedError<'_>) {
    tracing::debug!(
        target: "backstop::retry",
        %name, attempt, delay_ms = millis(delay), %reason, error = error.text(), "the request will be sent again"
    );
    metrics::retrying(name, reason);
}

/// No other attempt is made, though the result is no success.
pub(crate) fn stopped(name: &Name, attempt: u32, stop: StopReason, error: LoggedError<'_>) {
    let detail = match stop {
        StopReason::NotReplayable(why) => Some(tracing::field::display(why)),
        _ => None,
    };
    tracing::debug!(
        target: "backstop::retry",
        %name, attempt, reason = %stop, detail, error = error.text(), "the request won't be sent again"
    );
    metrics::stopped(name, stop);
}

/// The total passed during the first attempt, which this layer can't end. Logged when that attempt ends or is dropped.
pub(crate) fn first_attempt_outlasted_total(name: &Name, total: Duration) {
    let total_ms = millis(total);
    tracing::debug!(target: "backstop::retry", %name, attempt = 1, total_ms, "the total passed during the first attempt");
}

/// The last attempt gave no answer: an earlier attempt's answer is returned.
pub(crate) fn returned_earlier_answer(name: &Name, attempt: u32, reason: StopReason) {
    tracing::debug!(target: "backstop::retry", %name, attempt, %reason, "an earlier attempt's answer is returned");
    metrics::stopped(name, reason);
}
