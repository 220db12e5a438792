//! The problem document of an exhausted chain.

use std::fmt::Write as _;

use backstop_core::{Rejection, grpc::WireProtocol};
use backstop_kit::{Reject, WrapBody, http_response};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};

use crate::AllProvidersFailed;

/// Rejects as [`HttpReject`](backstop_kit::HttpReject) does, and tells HTTP callers of an exhausted chain which providers failed,
/// and why: in a problem document (RFC 9457), `application/problem+json`.
///
/// ```json
/// {
///   "title": "Service Unavailable",
///   "status": 503,
///   "detail": "no provider had an answer",
///   "providers": [
///     { "name": "ml_service", "reason": "circuit-open" },
///     { "name": "cached", "reason": "timeout" }
///   ]
/// }
/// ```
///
/// The names are those that you configured, the reasons are [`Reason`](backstop_core::Reason)'s words: nothing of an error's text,
/// and nothing of the request. They tell an outsider what the service depends on, all the same: for callers who
/// shouldn't know, leave it out.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ProblemDetails;

impl ProblemDetails {
    /// The strategy; the fallback layer chooses it by `.problem_details()`.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[diagnostic::do_not_recommend]
impl<ReqBody: 'static, ResBody: WrapBody, E> Reject<Request<ReqBody>, Response<ResBody>, E> for ProblemDetails {
    type Context = WireProtocol;

    fn context(&self, request: &Request<ReqBody>) -> WireProtocol {
        WireProtocol::of(request)
    }

    #[inline]
    fn reject(&self, protocol: WireProtocol, rejection: Rejection) -> Result<Response<ResBody>, E> {
        Ok(match AllProvidersFailed::in_rejection(&rejection) {
            Some(failed) if protocol == WireProtocol::Http => respond(rejection, document(&failed)),
            _ => http_response(protocol, rejection),
        })
    }
}

/// The 503 of an exhausted chain, with its problem document: what a handler returns that asked a chain. A 400 where the
/// request [is to blame](AllProvidersFailed::is_callers_fault).
#[cfg(feature = "axum")]
impl axum::response::IntoResponse for AllProvidersFailed {
    fn into_response(self) -> axum::response::Response {
        let document = document(&self);
        respond(self.into(), document)
    }
}

fn respond<B: WrapBody>(rejection: Rejection, document: String) -> Response<B> {
    let mut response = http_response(WireProtocol::Http, rejection);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = B::wrap(Full::<Bytes>::from(document).map_err(|never| match never {}));
    response
}

/// Without a `type`, which is then `about:blank`: the title is the status's own phrase (RFC 9457 §4.2.1).
fn document(failed: &AllProvidersFailed) -> String {
    let mut json = String::from(if failed.is_callers_fault() {
        r#"{"title":"Bad Request","status":400,"detail":"the request is to blame","providers":["#
    } else {
        r#"{"title":"Service Unavailable","status":503,"detail":"no provider had an answer","providers":["#
    });
    for (i, failure) in failed.failures().iter().enumerate() {
        let comma = if i == 0 { "" } else { "," };
        // A name and a reason are tokens, in which nothing needs to be escaped. Writing to a string can't fail.
        _ = write!(json, r#"{comma}{{"name":"{}","reason":"{}"}}"#, failure.provider, failure.reason);
    }
    json.push_str("]}");
    json
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http_body_util::combinators::UnsyncBoxBody;

    use backstop_core::{Reason, grpc::GRPC_STATUS, name};

    use super::*;
    use crate::ProviderFailure;

    type Body = UnsyncBoxBody<Bytes, Infallible>;

    fn failed() -> AllProvidersFailed {
        let failures = vec![
            ProviderFailure::new(name!("ml_service"), Reason::CIRCUIT_OPEN),
            ProviderFailure::new(name!("cached"), Reason::status(http::StatusCode::NOT_FOUND)),
        ];
        AllProvidersFailed::new(name!("recommendations"), failures, Some(Duration::from_millis(6_500)))
    }

    fn reject(protocol: WireProtocol, rejection: Rejection) -> Response<Body> {
        let rejected: Result<_, Infallible> =
            Reject::<Request<()>, _, _>::reject(&ProblemDetails::new(), protocol, rejection);
        rejected.unwrap()
    }

    const DOCUMENT: &str = r#"{"title":"Service Unavailable","status":503,"detail":"no provider had an answer","providers":[{"name":"ml_service","reason":"circuit-open"},{"name":"cached","reason":"status-404"}]}"#;

    #[tokio::test]
    async fn the_document_names_the_providers_and_their_reasons() {
        let response = reject(WireProtocol::Http, failed().into());
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "7");
        let rejection = response.extensions().get::<Rejection>().map(ToString::to_string);
        assert_eq!(rejection, Some(failed().to_string()));
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(DOCUMENT.len() as u64));
        assert_eq!(response.into_body().collect().await.unwrap().to_bytes(), DOCUMENT);
    }

    #[tokio::test]
    async fn a_grpc_call_and_another_rejection_have_none() {
        let grpc = reject(WireProtocol::Grpc, failed().into());
        assert_eq!((grpc.status().as_u16(), &grpc.headers()[GRPC_STATUS]), (200, &HeaderValue::from_static("14")));
        assert_eq!(grpc.headers()["content-type"], "application/grpc");
        let full = reject(WireProtocol::Http, Rejection::refused(name!("bulkhead"), Reason::BULKHEAD_FULL));
        assert!(!full.headers().contains_key(CONTENT_TYPE));
        for response in [grpc, full] {
            assert!(http_body::Body::is_end_stream(response.body()));
        }
    }

    #[cfg(feature = "axum")]
    #[tokio::test]
    async fn a_handlers_error_is_the_same_answer() {
        use axum::response::IntoResponse;

        let (handlers, layers) = (failed().into_response(), reject(WireProtocol::Http, failed().into()));
        assert_eq!(handlers.status(), layers.status());
        assert_eq!(handlers.headers(), layers.headers());
        let rejection = handlers.extensions().get::<Rejection>().map(ToString::to_string);
        assert_eq!(rejection, Some(failed().to_string()));
        assert_eq!(handlers.into_body().collect().await.unwrap().to_bytes(), DOCUMENT);
    }
}
