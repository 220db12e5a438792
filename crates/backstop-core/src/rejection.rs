//! Answers that a layer makes itself.

use std::{any::Any, error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

use crate::{
    ErrorRef, Name, Outcome, Pushback, Reason, Value,
    grpc::{self, GrpcCode},
};

/// An answer that a layer made itself, instead of the service that it wraps.
///
/// It travels as an extension of the response, or as (the source of) an error, and informs the layers further out. The
/// rejecting layer sets all of its data: the reason, the outcome, and the status of the response. Anything else goes
/// into a typed [detail](RejectionDetail).
///
/// ```
/// use std::fmt;
/// use backstop_core::{Name, Reason, Rejection, RejectionDetail, Verdict, name};
///
/// /// How much a caller has used.
/// #[derive(Debug)]
/// struct QuotaExceeded {
///     used: u64,
/// }
///
/// impl RejectionDetail for QuotaExceeded {
///     fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
///         write!(f, "quota {by} is exceeded, {} calls were made", self.used)
///     }
/// }
///
/// const REASON: Reason = Reason::new("quota-exceeded");
///
/// let rejection = Rejection::refused(name!("search"), REASON).with_detail(QuotaExceeded { used: 1_000 });
/// assert_eq!(rejection.to_string(), "quota search is exceeded, 1000 calls were made");
/// assert_eq!(rejection.outcome().verdict, Verdict::Neutral);
/// assert_eq!(rejection.detail::<QuotaExceeded>().map(|detail| detail.used), Some(1_000));
/// ```
#[derive(Clone)]
pub struct Rejection {
    by: Name,
    reason: Reason,
    outcome: Outcome,
    retry_after: Option<Duration>,
    status: StatusCode,
    code: GrpcCode,
    detail: Option<Detail>,
}

#[derive(Clone)]
enum Detail {
    Static(&'static dyn RejectionDetail),
    Shared(Arc<dyn RejectionDetail>),
}

impl Detail {
    fn get(&self) -> &dyn RejectionDetail {
        match self {
            Self::Static(detail) => *detail,
            Self::Shared(detail) => &**detail,
        }
    }
}

/// Layer-specific data attached to a [`Rejection`].
pub trait RejectionDetail: Any + fmt::Debug + Send + Sync {
    /// Writes what happened, as the text of the rejection by the layer `by`.
    ///
    /// # Errors
    /// If writing to `f` fails.
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result;

    /// What a problem document (RFC 9457) of the rejection has beside the members that all have. By default nothing.
    ///
    /// Callers see it, so it contains no text of an error, and nothing of a request.
    fn members(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }
}

impl Rejection {
    /// A rejection by the layer `by` that counts as `outcome`. It is answered with 503 and gRPC's `UNAVAILABLE`.
    ///
    /// `outcome` can't say that the request was not processed: see [`outcome`](Self::outcome).
    #[must_use]
    pub const fn new(by: Name, reason: Reason, mut outcome: Outcome) -> Self {
        outcome.unprocessed = false;
        Self {
            by,
            reason,
            outcome,
            retry_after: None,
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: GrpcCode::UNAVAILABLE,
            detail: None,
        }
    }

    /// A rejection made before the inner service was called, see [`Outcome::refused`].
    #[must_use]
    pub const fn refused(by: Name, reason: Reason) -> Self {
        Self::new(by, reason, Outcome::refusal())
    }

    /// Sets how long a caller should wait before retrying.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Sets the HTTP status and the gRPC status that it is answered with.
    ///
    /// A rejection is never a success: 503 replaces a status below 400, and `UNAVAILABLE` replaces gRPC's `OK`.
    #[must_use]
    pub const fn with_status(mut self, status: StatusCode, code: GrpcCode) -> Self {
        self.status = if status.as_u16() < 400 { StatusCode::SERVICE_UNAVAILABLE } else { status };
        self.code = if code.number() == 0 { GrpcCode::UNAVAILABLE } else { code };
        self
    }

    /// Adds a typed detail. Costs one allocation.
    #[must_use]
    pub fn with_detail(mut self, detail: impl RejectionDetail) -> Self {
        self.detail = Some(Detail::Shared(Arc::new(detail)));
        self
    }

    /// Adds a typed detail that is the same for every rejection. Costs no allocation.
    #[must_use]
    pub fn with_static_detail(mut self, detail: &'static dyn RejectionDetail) -> Self {
        self.detail = Some(Detail::Static(detail));
        self
    }

    /// Finds a rejection in `error` or its causes.
    #[must_use]
    pub fn in_error<'a>(error: ErrorRef<'a>) -> Option<&'a Self> {
        error.find()
    }

    /// The rejection that a response was made from: its extension, unless the response has since been turned into a successful one.
    #[must_use]
    pub fn in_response<B>(response: &http::Response<B>) -> Option<&Self> {
        // Most responses have no extensions, and then this costs nothing.
        let rejection = response.extensions().get::<Self>()?;
        let is_good = response.status().as_u16() < 400
            && grpc::status_in_headers(response.headers()).is_none_or(|code| code == GrpcCode::OK);
        (!is_good).then_some(rejection)
    }

    /// The name of the layer that rejected.
    #[must_use]
    pub const fn by(&self) -> &Name {
        &self.by
    }

    /// The reason for the rejection.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Its outcome for the layers further out, with the wait that it asks for.
    ///
    /// It never says that the request was not processed: a response or an error with a rejection may come from a
    /// service that did more than the rejected call.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        match self.retry_after {
            Some(wait) => self.outcome.pushback(Some(Pushback::After(wait))),
            None => self.outcome,
        }
    }

    /// How long a caller should wait before retrying, if known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// The HTTP status that it is answered with.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// The gRPC status that it is answered with.
    #[must_use]
    pub const fn code(&self) -> GrpcCode {
        self.code
    }

    /// The [further members](RejectionDetail::members) of a problem document.
    #[must_use]
    pub fn members(&self) -> Vec<(&'static str, Value)> {
        self.detail.as_ref().map_or_else(Vec::new, |detail| detail.get().members())
    }

    /// The detail, where it is a `T`.
    #[must_use]
    pub fn detail<T: RejectionDetail>(&self) -> Option<&T> {
        let detail: &dyn Any = self.detail.as_ref()?.get();
        detail.downcast_ref()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.detail {
            Some(detail) => detail.get().describe(&self.by, f),
            None => write!(f, "{} rejected the call: {}", self.by, self.reason),
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("by", &self.by)
            .field("reason", &self.reason)
            .field("outcome", &self.outcome())
            .field("status", &self.status)
            .field("code", &self.code)
            .field("detail", &self.detail.as_ref().map(Detail::get))
            .finish()
    }
}

impl Error for Rejection {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name;

    #[test]
    fn no_rejection_says_that_a_request_was_not_processed() {
        let outcome = Outcome::neutral().unprocessed().transient();
        let rejection = Rejection::new(name!("quota"), Reason::ERROR, outcome);
        assert_eq!(rejection.outcome(), Outcome::neutral().transient());
    }

    #[test]
    fn no_rejection_is_answered_with_a_success() {
        let rejection = Rejection::refused(name!("quota"), Reason::ERROR);
        for status in [StatusCode::CONTINUE, StatusCode::OK, StatusCode::NOT_MODIFIED] {
            let rejection = rejection.clone().with_status(status, GrpcCode::OK);
            assert_eq!(rejection.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(rejection.code(), GrpcCode::UNAVAILABLE);
        }
        let rejection = rejection.with_status(StatusCode::BAD_REQUEST, GrpcCode::CANCELLED);
        assert_eq!((rejection.status(), rejection.code()), (StatusCode::BAD_REQUEST, GrpcCode::CANCELLED));
    }

    #[test]
    fn a_wait_replaces_what_the_outcome_says_of_when_to_retry_and_none_leaves_it() {
        let stop = Outcome::failure().pushback(Some(Pushback::Stop));
        let rejection = Rejection::new(name!("quota"), Reason::ERROR, stop);
        assert_eq!(rejection.outcome(), stop);
        let wait = Duration::from_secs(1);
        let rejection = rejection.with_retry_after(Some(wait));
        assert_eq!(rejection.outcome().pushback, Some(Pushback::After(wait)));
    }
}
