//! Rejections with a body that says why: problem documents ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

use std::fmt::Write;

use backstop_core::{Rejection, Value, grpc::WireProtocol};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};

use super::{Reject, http_response};
use crate::WrapBody;

/// Rejects as [`HttpReject`](crate::HttpReject) does, and says why in the body: in a problem document, `application/problem+json`.
///
/// ```json
/// {
///   "title": "Service Unavailable",
///   "status": 503,
///   "detail": "circuit ml_service is open",
///   "reason": "circuit-open",
///   "by": "ml_service"
/// }
/// ```
///
/// With it, a caller can tell a refusal of yours from a 503 that an upstream sent. `reason` is a
/// [`Reason`](backstop_core::Reason), `by` the name of the layer that rejected, `detail` the rejection's text. A rejection may
/// have [further members](backstop_core::RejectionDetail::members): an exhausted fallback chain lists its `providers`. There is
/// no `type`, which means `about:blank`: the title is the status's own phrase (RFC 9457 §4.2.1).
///
/// The document has configured names and words of the layers, no text of an error, and nothing of the request. Its names tell
/// an outsider what the service depends on: leave it out if callers shouldn't know.
///
/// A gRPC call gets the usual Trailers-Only answer, which has no body. For response bodies that are [`WrapBody`].
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct ProblemDetails;

impl ProblemDetails {
    /// The strategy; layers choose it by `.problem_details()`.
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
        Ok(match protocol {
            WireProtocol::Http => problem_response(rejection),
            grpc => http_response(grpc, rejection),
        })
    }
}

/// The answer that [`ProblemDetails`] gives to an HTTP request.
#[must_use]
pub fn problem_response<B: WrapBody>(rejection: Rejection) -> Response<B> {
    let document = document(&rejection);
    let mut response = http_response(WireProtocol::Http, rejection);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    *response.body_mut() = B::wrap(Full::<Bytes>::from(document).map_err(|never| match never {}));
    response
}

fn document(rejection: &Rejection) -> String {
    let status = rejection.status();
    let mut members = Vec::from([
        ("title", Value::from(status.canonical_reason())),
        ("status", u32::from(status.as_u16()).into()),
        ("detail", rejection.to_string().into()),
        ("reason", rejection.reason().into()),
        ("by", rejection.by().into()),
    ]);
    // A status without a phrase has no title.
    members.retain(|(_, value)| *value != Value::None);
    members.extend(rejection.members());
    let mut json = String::new();
    write_json(&mut json, &Value::Map(members));
    json
}

/// Writes a value as JSON: a time in seconds, and a number that JSON doesn't have as `null`.
fn write_json(json: &mut String, value: &Value) {
    // Writing to a string can't fail.
    _ = match value {
        Value::Bool(it) => write!(json, "{it}"),
        Value::Integer(it) => write!(json, "{it}"),
        Value::Number(it) if it.is_finite() => write!(json, "{it}"),
        Value::Duration(it) => write!(json, "{}", it.as_secs_f64()),
        Value::Text(it) => {
            write_text(json, it);
            Ok(())
        }
        Value::List(items) => {
            write_all(json, ['[', ']'], items, write_json);
            Ok(())
        }
        Value::Map(members) => {
            write_all(json, ['{', '}'], members, |json, (name, value)| {
                write_text(json, name);
                json.push(':');
                write_json(json, value);
            });
            Ok(())
        }
        _ => write!(json, "null"),
    };
}

fn write_all<T>(json: &mut String, [open, close]: [char; 2], items: &[T], write: impl Fn(&mut String, &T)) {
    json.push(open);
    for (i, item) in items.iter().enumerate() {
        if i > 0 {
            json.push(',');
        }
        write(json, item);
    }
    json.push(close);
}

/// A string of JSON (RFC 8259 §7).
fn write_text(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => json.extend(['\\', c]),
            '\0'..='\x1f' => _ = write!(json, "\\u{:04x}", u32::from(c)),
            _ => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, fmt, time::Duration};

    use backstop_core::{Name, Reason, RejectionDetail, grpc::GRPC_STATUS, name};
    use http_body_util::combinators::UnsyncBoxBody;

    use super::*;

    type Body = UnsyncBoxBody<Bytes, Infallible>;

    #[derive(Debug)]
    struct Quota;

    impl RejectionDetail for Quota {
        fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "{by} says \"no\"\\\n\u{e9}")
        }

        fn members(&self) -> Vec<(&'static str, Value)> {
            let used = Value::Map(vec![("calls", 7_u64.into()), ("share", 0.5.into())]);
            vec![
                ("used", [used].into_iter().collect()),
                ("resets_in", Duration::from_millis(1500).into()),
                ("blocked", true.into()),
                ("rate", f64::NAN.into()),
                ("owner", Value::None),
                ("tags", Value::List(Vec::new())),
            ]
        }
    }

    fn reject(protocol: WireProtocol, rejection: Rejection) -> Response<Body> {
        let answer: Result<_, Infallible> =
            Reject::<Request<()>, _, _>::reject(&ProblemDetails::new(), protocol, rejection);
        answer.unwrap()
    }

    async fn body(response: Response<Body>) -> String {
        String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn the_document_says_who_rejected_and_why() {
        let rejection = Rejection::refused(name!("ml_service"), Reason::CIRCUIT_OPEN);
        let response = reject(WireProtocol::Http, rejection.with_retry_after(Some(Duration::from_secs(7))));
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        assert_eq!(response.headers()["cache-control"], "no-store");
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(Rejection::in_response(&response).unwrap().reason(), Reason::CIRCUIT_OPEN);
        let expected = r#"{"title":"Service Unavailable","status":503,"detail":"ml_service rejected the call: circuit-open","reason":"circuit-open","by":"ml_service"}"#;
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(expected.len() as u64));
        assert_eq!(body(response).await, expected);
    }

    #[tokio::test]
    async fn a_detail_adds_members_and_its_text_is_escaped() {
        let rejection = Rejection::refused(name!("quota"), Reason::new("quota-exceeded")).with_static_detail(&Quota);
        let rejection =
            rejection.with_status(http::StatusCode::from_u16(599).unwrap(), backstop_core::grpc::GrpcCode::INTERNAL);
        let expected = concat!(
            r#"{"status":599,"detail":"quota says \"no\"\\\u000aé","reason":"quota-exceeded","by":"quota","#,
            r#""used":[{"calls":7,"share":0.5}],"resets_in":1.5,"blocked":true,"rate":null,"owner":null,"tags":[]}"#
        );
        assert_eq!(body(reject(WireProtocol::Http, rejection)).await, expected);
    }

    #[tokio::test]
    async fn a_grpc_call_has_no_document() {
        let response = reject(WireProtocol::Grpc, Rejection::refused(name!("bulkhead"), Reason::BULKHEAD_FULL));
        assert_eq!(
            (response.status().as_u16(), &response.headers()[GRPC_STATUS]),
            (200, &HeaderValue::from_static("14"))
        );
        assert_eq!(response.headers()["content-type"], "application/grpc");
        assert!(http_body::Body::is_end_stream(response.body()));
    }
}
