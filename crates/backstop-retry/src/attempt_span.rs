//! The `tracing` span of an attempt.

use backstop_core::{Name, Reason, Verdict};
use tracing::{Level, Span, field::Empty, level_filters::LevelFilter, span::Entered};

/// The span of a running attempt, if a subscriber wants it.
///
/// Dropping it unended says that the attempt was dropped.
// Boxed, because it moves with the future, and is mostly `None`.
pub(crate) struct AttemptSpan(Option<Box<Span>>);

impl AttemptSpan {
    /// The span of a call that isn't an attempt.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    /// Opens the span of the attempt with this number, inside the current span. `resent` is how often the same HTTP request
    /// was sent before, unless that is never.
    #[inline]
    pub(crate) fn open(name: &Name, attempt: u32, resent: Option<u32>) -> Self {
        if Level::DEBUG <= LevelFilter::current() { Self::open_if_wanted(name, attempt, resent) } else { Self::none() }
    }

    #[cold]
    fn open_if_wanted(name: &Name, attempt: u32, resent: Option<u32>) -> Self {
        // The fields with dots are those of OpenTelemetry.
        let span = tracing::debug_span!(
            target: "backstop::retry",
            "attempt",
            otel.kind = "client",
            %name,
            attempt,
            http.request.resend_count = resent,
            outcome = Empty,
            reason = Empty,
            otel.status_code = Empty,
        );
        Self((!span.is_disabled()).then(|| Box::new(span)))
    }

    /// Enters the span until the guard is dropped.
    #[inline]
    pub(crate) fn enter(&self) -> Option<Entered<'_>> {
        self.0.as_deref().map(Span::enter)
    }

    /// Closes the span with what the attempt counts as. `result` isn't called without a span.
    #[inline]
    pub(crate) fn end(&mut self, result: impl FnOnce() -> (Verdict, Option<Reason>)) {
        if let Some(span) = self.0.take() {
            let (verdict, reason) = result();
            record(&span, verdict, reason);
        }
    }
}

#[cold]
fn record(span: &Span, verdict: Verdict, reason: Option<Reason>) {
    let outcome = match verdict {
        Verdict::Success => "success",
        Verdict::Failure => "failure",
        _ => "neutral",
    };
    span.record("outcome", outcome);
    if let Some(reason) = reason {
        span.record("reason", reason.as_str());
    }
    if verdict == Verdict::Failure {
        span.record("otel.status_code", "ERROR");
    }
}

impl Drop for AttemptSpan {
    #[inline]
    fn drop(&mut self) {
        if let Some(span) = &self.0 {
            span.record("reason", "dropped");
        }
    }
}
