//! Events and metrics. They contain nothing of a request.

use std::time::Duration;

use backstop_core::{ErrorRef, Name, Reason};
use backstop_kit::ErrorText;

use crate::StopReason;

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
        %name, attempt, ?delay, %reason, error = error.text(), "the request will be sent again"
    );
    recorder::retrying(name, reason);
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
    recorder::stopped(name, stop);
}

/// The total passed during the first attempt, which this layer can't end. Logged when that attempt ends or is dropped.
pub(crate) fn first_attempt_outlasted_total(name: &Name, total: Duration) {
    tracing::debug!(target: "backstop::retry", %name, attempt = 1, ?total, "the total passed during the first attempt");
}

/// The last attempt gave no answer: an earlier attempt's answer is returned.
pub(crate) fn returned_earlier_answer(name: &Name, attempt: u32, reason: StopReason) {
    tracing::debug!(target: "backstop::retry", %name, attempt, %reason, "an earlier attempt's answer is returned");
    recorder::stopped(name, reason);
}

#[cfg(not(feature = "metrics"))]
mod recorder {
    use super::{Name, Reason, StopReason};

    pub(super) const fn retrying(_: &Name, _: Reason) {}
    pub(super) const fn stopped(_: &Name, _: StopReason) {}
}

/// Counts through the facade `metrics`. Handles are looked up on each use, because the recorder may be installed later. A request
/// that succeeds at once looks up none.
#[cfg(feature = "metrics")]
mod recorder {
    use super::{Name, Reason, StopReason};

    pub(super) fn retrying(name: &Name, reason: Reason) {
        metrics::counter!("retry_attempts_total", "name" => name.to_string(), "reason" => reason.to_string())
            .increment(1);
    }

    pub(super) fn stopped(name: &Name, stop: StopReason) {
        metrics::counter!("retry_skipped_total", "name" => name.to_string(), "reason" => stop.as_str()).increment(1);
    }
}
