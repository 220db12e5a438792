//! The error of a chain in which no provider had an answer.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use backstop_core::{Name, Outcome, Reason, Rejection, RejectionDetail, Value, grpc::GrpcCode};
use http::StatusCode;

/// No provider of a chain had an answer. Lists each provider and its reason.
///
/// It converts into a [`Rejection`], and [`in_rejection`](Self::in_rejection) finds it there again.
#[derive(Clone, Debug)]
pub struct AllProvidersFailed(Rejection);

/// The rejection's detail.
#[derive(Debug)]
struct Exhaustion {
    failures: Vec<ProviderFailure>,
    is_callers_fault: bool,
}

/// Why one provider didn't answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderFailure {
    /// The provider.
    pub provider: Name,
    /// Why it didn't answer.
    pub reason: Reason,
    /// The text of its error, or what would let it answer. For logs and handlers. Responses don't contain it.
    pub error: Option<Cow<'static, str>>,
}

impl ProviderFailure {
    /// A provider, and why it didn't answer.
    #[must_use]
    pub const fn new(provider: Name, reason: Reason) -> Self {
        Self { provider, reason, error: None }
    }

    /// Sets the text of its error.
    #[must_use]
    pub fn with_error(mut self, error: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.error = error.map(Into::into);
        self
    }
}

impl AllProvidersFailed {
    /// No provider of `chain` answered. `retry_after` is the shortest wait that one asked for.
    #[must_use]
    pub fn new(chain: Name, failures: Vec<ProviderFailure>, retry_after: Option<Duration>) -> Self {
        Self::counting_as(Outcome::failure(), chain, failures, retry_after)
    }

    /// The error of the last of `failures` ended the chain. Chains further out ask no other provider, either.
    pub(crate) fn ended(chain: Name, failures: Vec<ProviderFailure>, retry_after: Option<Duration>) -> Self {
        Self::counting_as(Outcome::failure().ending_chain(), chain, failures, retry_after)
    }

    fn counting_as(
        outcome: Outcome,
        chain: Name,
        failures: Vec<ProviderFailure>,
        retry_after: Option<Duration>,
    ) -> Self {
        let rejection = Rejection::new(chain, Reason::ALL_PROVIDERS_FAILED, outcome);
        let detail = Exhaustion { failures, is_callers_fault: false };
        Self(rejection.with_retry_after(retry_after).with_detail(detail))
    }

    /// The first provider failed with an error that blames the request. `failures` holds only that.
    #[must_use]
    pub fn of_callers_fault(chain: Name, failures: Vec<ProviderFailure>) -> Self {
        let rejection = Rejection::new(chain, Reason::ALL_PROVIDERS_FAILED, Outcome::callers_fault());
        let answered = rejection.with_status(StatusCode::BAD_REQUEST, GrpcCode::INVALID_ARGUMENT);
        Self(answered.with_detail(Exhaustion { failures, is_callers_fault: true }))
    }

    /// Whether a provider's error [ended the chain](Outcome::ends_chain).
    pub(crate) fn ends_chain(&self) -> bool {
        self.0.outcome().ends_chain
    }

    /// Finds it in a rejection, if that is a chain's.
    #[must_use]
    pub fn in_rejection(rejection: &Rejection) -> Option<Self> {
        rejection.detail::<Exhaustion>().map(|_| Self(rejection.clone()))
    }

    /// Whether the first provider's error blames the request. Then that error is the answer, and no other provider was asked. A
    /// handler turns it into a 404, for example; as a response it is a 400.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        self.0.detail::<Exhaustion>().is_some_and(|detail| detail.is_callers_fault)
    }

    /// The name of the chain.
    #[must_use]
    pub const fn chain(&self) -> &Name {
        self.0.by()
    }

    /// Each provider in order, and why it didn't answer.
    #[must_use]
    pub fn failures(&self) -> &[ProviderFailure] {
        self.0.detail::<Exhaustion>().map_or(&[], |detail| &detail.failures)
    }

    /// The shortest wait that a provider asked for.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after()
    }

    /// This as a [`Rejection`].
    #[must_use]
    pub const fn rejection(&self) -> &Rejection {
        &self.0
    }
}

impl RejectionDetail for Exhaustion {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_callers_fault {
            write!(f, "the request to {by} is to blame:")?;
        } else {
            write!(f, "all providers of {by} failed:")?;
        }
        for (i, ProviderFailure { provider, reason, .. }) in self.failures.iter().enumerate() {
            write!(f, "{} {provider} ({reason})", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }

    fn members(&self) -> Vec<(&'static str, Value)> {
        let failure =
            |it: &ProviderFailure| Value::Map(vec![("name", (&it.provider).into()), ("reason", it.reason.into())]);
        vec![("providers", self.failures.iter().map(failure).collect())]
    }
}

/// The 503 of an exhausted chain, with its [problem document](backstop_kit::ProblemDetails): what a handler returns that asked
/// a chain. A 400 where the request [is to blame](AllProvidersFailed::is_callers_fault).
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for AllProvidersFailed {
    fn into_response(self) -> axum::response::Response {
        backstop_kit::problem_response(self.into())
    }
}

impl fmt::Display for AllProvidersFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer from {}", self.chain())
    }
}

/// Its source is its [`Rejection`], so that layers further out recognise it. Its text names each provider and its reason.
impl Error for AllProvidersFailed {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl From<AllProvidersFailed> for Rejection {
    fn from(failed: AllProvidersFailed) -> Self {
        failed.0
    }
}

#[cfg(test)]
mod tests {
    use backstop_core::{Classify, ErrorRef, HttpClassify, name};

    use super::*;

    fn failed() -> AllProvidersFailed {
        let failures = vec![
            ProviderFailure::new(name!("ml"), Reason::CIRCUIT_OPEN),
            ProviderFailure::new(name!("catalog"), Reason::status(StatusCode::BAD_GATEWAY)),
        ];
        AllProvidersFailed::new(name!("recommendations"), failures, None)
    }

    #[test]
    fn an_exhausted_chain_names_each_provider_and_its_reason() {
        let text = "all providers of recommendations failed: ml (circuit-open), catalog (status-502)";
        assert_eq!(failed().rejection().to_string(), text);
    }

    #[test]
    fn an_exhausted_chain_and_its_source_do_not_say_the_same() {
        let failed = failed();
        assert_eq!(failed.to_string(), "no answer from recommendations");
        assert_eq!(failed.source().map(ToString::to_string), Some(failed.rejection().to_string()));
    }

    #[test]
    fn an_exhausted_chain_is_known_as_the_error_that_a_handler_got() {
        backstop_core::see_through::<AllProvidersFailed>();
        let boxed: Box<dyn Error + Send + Sync> = failed().into();
        let failed = failed();
        for error in [ErrorRef::new(&failed), ErrorRef::new(&boxed)] {
            let judge = HttpClassify::new();
            assert_eq!(Classify::<http::Response<()>>::classify(&judge, Err(error)), Outcome::failure());
            assert_eq!(Classify::<http::Response<()>>::reason(&judge, Err(error)), Reason::ALL_PROVIDERS_FAILED);
            let found = Rejection::in_error(error).and_then(AllProvidersFailed::in_rejection).unwrap();
            assert_eq!(found.failures(), failed.failures());
        }
    }

    #[cfg(feature = "axum")]
    #[tokio::test]
    async fn a_handlers_error_is_a_problem_document_that_names_the_providers() {
        use axum::response::IntoResponse;

        let response = failed().into_response();
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert!(Rejection::in_response(&response).and_then(AllProvidersFailed::in_rejection).is_some());
        let body = axum::body::to_bytes(response.into_body(), 1024).await.unwrap();
        let expected = concat!(
            r#"{"title":"Service Unavailable","status":503,"#,
            r#""detail":"all providers of recommendations failed: ml (circuit-open), catalog (status-502)","#,
            r#""reason":"all-providers-failed","by":"recommendations","#,
            r#""providers":[{"name":"ml","reason":"circuit-open"},{"name":"catalog","reason":"status-502"}]}"#
        );
        assert_eq!(body, expected);
    }

    #[test]
    fn a_request_that_is_to_blame_is_no_failure_of_the_chain() {
        let failed = AllProvidersFailed::of_callers_fault(name!("recommendations"), Vec::new());
        assert!(failed.is_callers_fault());
        assert_eq!(failed.rejection().outcome(), Outcome::callers_fault());
        assert_eq!(failed.rejection().status(), StatusCode::BAD_REQUEST);
    }
}
