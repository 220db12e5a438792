//! How a request's body can fail.

use std::fmt;

use backstop_core::{Blame, Name, Outcome, Reason, Rejection, RejectionDetail, grpc::GrpcCode};
use http::StatusCode;

/// How a request's body failed while it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestFailure {
    /// It ended with an error: the caller broke it off, or it was malformed.
    Broken,
    /// It was longer than a limit further out allows.
    TooLarge,
    /// The call spent most of its time waiting for it.
    TooSlow,
}

impl RequestFailure {
    /// The rejection of such a request by the layer `by`: the caller is to blame.
    ///
    /// | failure | HTTP | gRPC |
    /// |---|---|---|
    /// | `Broken` | 400 | 1 `CANCELLED` |
    /// | `TooLarge` | 413 | 8 `RESOURCE_EXHAUSTED` |
    /// | `TooSlow` | 408 | 4 `DEADLINE_EXCEEDED` |
    #[must_use]
    pub fn rejection(self, by: Name) -> Rejection {
        let (status, code) = match self {
            Self::Broken => (StatusCode::BAD_REQUEST, GrpcCode::CANCELLED),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, GrpcCode::RESOURCE_EXHAUSTED),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, GrpcCode::DEADLINE_EXCEEDED),
        };
        Rejection::new(by, Reason::REQUEST_BODY, Outcome::neutral().blaming(Blame::Request))
            .with_status(status, code)
            .with_detail(self)
    }
}

impl RejectionDetail for RequestFailure {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken => write!(f, "the request to {by} broke off"),
            Self::TooLarge => write!(f, "the request to {by} is too large"),
            Self::TooSlow => write!(f, "the request to {by} came too slowly"),
        }
    }
}
