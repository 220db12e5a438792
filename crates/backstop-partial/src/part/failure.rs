//! Why a part failed.

use std::any::Any;

use backstop_core::{ErrorRef, Name, Outcome, Reason, Rejection, SetBy, grpc::GrpcCode};
use backstop_kit::{Elapsed, ErrorText, Progress};
use http::StatusCode;

use crate::NOT_STARTED;

/// A part that was replaced or left out, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PartFailure {
    /// The part.
    pub part: Name,
    /// Why it failed: `timeout`, `circuit-open`, `status-503`, `panic`, `not-started`, `error`, …
    pub reason: Reason,
    /// The text of its error, for logs. It isn't serialised unless [`Page::explain`](crate::Page::explain) asks for it.
    pub error: Option<String>,
}

/// A part's result that isn't an answer.
#[derive(Debug)]
pub struct Miss {
    pub(crate) reason: Reason,
    pub(crate) outcome: Outcome,
    /// How a page is answered that needs the part.
    pub(crate) status: (StatusCode, GrpcCode),
    pub(crate) error: Option<String>,
    /// The error or response itself.
    pub(crate) original: Option<Box<dyn Any + Send>>,
}

const UNAVAILABLE: (StatusCode, GrpcCode) = (StatusCode::SERVICE_UNAVAILABLE, GrpcCode::UNAVAILABLE);

/// It was never polled.
pub(crate) const NOT_STARTED_MISS: Miss = Miss {
    reason: NOT_STARTED,
    outcome: Outcome::refusal(),
    status: (StatusCode::GATEWAY_TIMEOUT, GrpcCode::DEADLINE_EXCEEDED),
    error: None,
    original: None,
};

impl Miss {
    /// The rejection of a layer further in, or of our own.
    pub(super) fn rejected(rejection: &Rejection) -> Self {
        let status = (rejection.status(), rejection.code());
        Self { reason: rejection.reason(), outcome: rejection.outcome(), status, error: None, original: None }
    }

    /// It took too long.
    pub(super) fn timed_out(part: &Name, set_by: SetBy) -> Self {
        Self::rejected(&Elapsed::new(set_by, Progress::Called).rejection(part.clone()))
    }

    /// It panicked.
    pub(super) fn panicked(payload: &(dyn Any + Send), errors: &ErrorText) -> Self {
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message");
        // As an error, so that a closure of `error_text` sees it, too.
        let error: Box<dyn std::error::Error + Send + Sync> = format!("panicked: {text}").into();
        let miss = Self::failed(Reason::new("panic"), Outcome::failure());
        Self { error: errors.of(ErrorRef::new(&error)), ..miss }
    }

    /// Any other result.
    pub(super) const fn failed(reason: Reason, outcome: Outcome) -> Self {
        let status = match outcome.blame {
            Some(_) => (StatusCode::BAD_REQUEST, GrpcCode::INVALID_ARGUMENT),
            None => UNAVAILABLE,
        };
        Self { reason, outcome, status, error: None, original: None }
    }

    /// Whether the caller is to blame, so that this is an answer if the part is required.
    pub(crate) const fn is_callers_fault(&self) -> bool {
        self.outcome.blame.is_some() && self.outcome.answers()
    }

    pub(crate) fn describe(&self, part: &Name) -> PartFailure {
        PartFailure { part: part.clone(), reason: self.reason, error: self.error.clone() }
    }
}
