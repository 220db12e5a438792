//! What HTTP layers must know about gRPC: its requests, status codes and pushback.
//!
//! Source: [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) and
//! [gRPC retry design, A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_TYPE};

use crate::Pushback;

/// The status of a gRPC answer.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The text of the status.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// When a client may retry, in milliseconds; negative for never.
pub const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// In a retried request: the number of previous attempts of this call.
pub const GRPC_PREVIOUS_RPC_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCode(u8);

impl GrpcCode {
    /// 0
    pub const OK: Self = Self(0);
    /// 1: the caller left, or aborted its request.
    pub const CANCELLED: Self = Self(1);
    /// 2
    pub const UNKNOWN: Self = Self(2);
    /// 3
    pub const INVALID_ARGUMENT: Self = Self(3);
    /// 4
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// 8
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// 13
    pub const INTERNAL: Self = Self(13);
    /// 14
    pub const UNAVAILABLE: Self = Self(14);

    /// The code with this number. Numbers that gRPC doesn't define are [`UNKNOWN`](Self::UNKNOWN), as its specification
    /// requires.
    #[must_use]
    pub const fn from_number(number: i32) -> Self {
        match number {
            // In range, so the cast keeps the value.
            0..=16 => Self(number as u8),
            _ => Self::UNKNOWN,
        }
    }

    /// Its number, 0 to 16.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }

    /// Whether it blames the caller, which means that the service works: `CANCELLED`, `INVALID_ARGUMENT`, `NOT_FOUND`,
    /// `ALREADY_EXISTS`, `PERMISSION_DENIED`, `FAILED_PRECONDITION`, `ABORTED`, `OUT_OF_RANGE`, `UNIMPLEMENTED`,
    /// `UNAUTHENTICATED`.
    #[must_use]
    pub const fn blames_caller(self) -> bool {
        matches!(self.0, 1 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 12 | 16)
    }
}

/// The protocol of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireProtocol {
    /// Plain HTTP.
    Http,
    /// gRPC. Also over HTTP/1.1, as inside tonic-web's layer.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// gRPC-Web in base64.
    GrpcWebText,
}

impl WireProtocol {
    /// The protocol of `request`.
    #[must_use]
    pub fn of<B>(request: &http::Request<B>) -> Self {
        protocol(request).unwrap_or(Self::Http)
    }

    /// Whether it is gRPC in any form.
    #[must_use]
    pub const fn is_grpc(self) -> bool {
        !matches!(self, Self::Http)
    }

    /// The content type of a gRPC answer.
    #[must_use]
    pub const fn grpc_content_type(self) -> &'static str {
        match self {
            Self::Http | Self::Grpc => "application/grpc",
            Self::GrpcWeb => "application/grpc-web+proto",
            Self::GrpcWebText => "application/grpc-web-text+proto",
        }
    }
}

/// Whether a request is a gRPC call: a `POST` whose content type is `application/grpc`, `application/grpc-web` or
/// `application/grpc-web-text`, alone or followed by `+` or `;`.
///
/// The version of HTTP doesn't matter: gRPC-Web also comes over HTTP/1.1, and inside tonic-web's layer it has gRPC's content
/// type.
#[must_use]
pub fn is_grpc_request<B>(request: &http::Request<B>) -> bool {
    protocol(request).is_some()
}

fn protocol<B>(request: &http::Request<B>) -> Option<WireProtocol> {
    if *request.method() != Method::POST {
        return None;
    }
    request.headers().get(CONTENT_TYPE).and_then(protocol_of)
}

fn protocol_of(content_type: &HeaderValue) -> Option<WireProtocol> {
    let rest = content_type.as_bytes().strip_prefix(b"application/grpc")?;
    let (protocol, rest) = if let Some(rest) = rest.strip_prefix(b"-web-text") {
        (WireProtocol::GrpcWebText, rest)
    } else if let Some(rest) = rest.strip_prefix(b"-web") {
        (WireProtocol::GrpcWeb, rest)
    } else {
        (WireProtocol::Grpc, rest)
    };
    matches!(rest.first(), None | Some(b'+' | b';')).then_some(protocol)
}

/// Whether a content type is that of a gRPC or gRPC-Web message.
#[must_use]
pub fn is_content_type(content_type: &HeaderValue) -> bool {
    protocol_of(content_type).is_some()
}

/// Whether a message is gRPC's by its content type: `application/grpc`, alone or followed by `+` or `;`.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).and_then(protocol_of) == Some(WireProtocol::Grpc)
}

/// Whether a message is gRPC's, or gRPC-Web's, which has its trailers in its body.
fn is_grpc_or_web(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(is_content_type)
}

/// The status in a response's headers (a Trailers-Only response), if there is one.
#[inline]
#[must_use]
pub fn status_in_headers(headers: &HeaderMap) -> Option<GrpcCode> {
    // A constant would be dropped after each look-up, by a call through a pointer.
    static NAME: HeaderName = GRPC_STATUS;
    let status = headers.get(&NAME)?;
    // In another protocol's answer, the header means nothing.
    is_grpc_or_web(headers).then(|| code_from_bytes(status.as_bytes()))
}

fn code_from_bytes(bytes: &[u8]) -> GrpcCode {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).map_or(GrpcCode::UNKNOWN, GrpcCode::from_number)
}

/// If a gRPC call was answered without gRPC, or only with an HTTP status: the answer's headers, with the gRPC status that
/// [its HTTP status maps to](https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md).
#[must_use]
pub fn mapped_from_http<B>(answer: &http::Response<B>) -> Option<HeaderMap> {
    let headers = answer.headers();
    // Without a status in its headers, the response may have one in its trailers.
    if is_grpc_or_web(headers) && (answer.status() == StatusCode::OK || headers.contains_key(GRPC_STATUS)) {
        return None;
    }
    let mut mapped = headers.clone();
    mapped.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    mapped.insert(GRPC_STATUS, u16::from(code_of(answer.status()).number()).into());
    Some(mapped)
}

const fn code_of(status: StatusCode) -> GrpcCode {
    match status.as_u16() {
        400 => GrpcCode::INTERNAL,
        401 => GrpcCode(16),
        403 => GrpcCode(7),
        404 => GrpcCode(12),
        429 | 502 | 503 | 504 => GrpcCode::UNAVAILABLE,
        _ => GrpcCode::UNKNOWN,
    }
}

/// A Trailers-Only response with the status of these trailers, for classifiers that judge a response by its head.
/// `None` if the trailers have no status.
#[must_use]
pub fn trailers_only<B: Default>(trailers: HeaderMap) -> Option<http::Response<B>> {
    if !trailers.contains_key(GRPC_STATUS) {
        return None;
    }
    let mut answer = http::Response::new(B::default());
    *answer.headers_mut() = trailers;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Some(answer)
}

/// Reads `grpc-retry-pushback-ms`: a wait, or stop if it is negative, not a number, or given more than once (A6,
/// "Pushback"; grpc-go also stops at several values).
#[must_use]
pub fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let mut values = headers.get_all(GRPC_RETRY_PUSHBACK_MS).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return Some(Pushback::Stop);
    }
    let millis = value.to_str().ok().and_then(|text| text.parse::<i32>().ok());
    Some(match millis.map(u64::try_from) {
        Some(Ok(millis)) => Pushback::After(Duration::from_millis(millis)),
        _ => Pushback::Stop,
    })
}

#[cfg(test)]
mod tests {
    use http::Version;

    use super::*;

    fn request(method: Method, version: Version, content_type: &str) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        request
    }

    #[test]
    fn a_post_with_grpcs_content_type_is_a_call_over_any_version() {
        let table = [
            ("application/grpc", Some(WireProtocol::Grpc)),
            ("application/grpc+proto", Some(WireProtocol::Grpc)),
            ("application/grpc;x=1", Some(WireProtocol::Grpc)),
            ("application/grpc-web", Some(WireProtocol::GrpcWeb)),
            ("application/grpc-web+proto", Some(WireProtocol::GrpcWeb)),
            ("application/grpc-web-text", Some(WireProtocol::GrpcWebText)),
            ("application/grpc-web-text+proto", Some(WireProtocol::GrpcWebText)),
            ("application/grpc-web-texts", None),
            ("application/grpc-website", None),
            ("application/json", None),
            ("application/grpcx", None),
        ];
        for (content_type, expected) in table {
            for version in [Version::HTTP_11, Version::HTTP_2, Version::HTTP_3] {
                assert_eq!(protocol(&request(Method::POST, version, content_type)), expected, "{content_type}");
                assert_eq!(protocol(&request(Method::GET, version, content_type)), None);
            }
        }
    }

    #[test]
    fn an_answer_that_is_not_grpcs_has_the_status_that_its_http_status_maps_to() {
        let table = [
            (200, 2),
            (302, 2),
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (418, 2),
            (429, 14),
            (500, 2),
            (502, 14),
            (503, 14),
            (504, 14),
        ];
        for (status, code) in table {
            for content_type in [Some("text/html"), None] {
                let mut answer = http::Response::builder().status(status).body(()).unwrap();
                content_type.map(|it| answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(it)));
                let mapped = mapped_from_http(&answer).unwrap();
                assert_eq!(status_in_headers(&mapped).unwrap().number(), code, "{status}");
            }
        }
        for (status, grpc_status, is_mapped) in
            [(200, None, false), (200, Some("14"), false), (503, Some("0"), false), (503, None, true)]
        {
            let mut answer = http::Response::builder().status(status).header(CONTENT_TYPE, "application/grpc+proto");
            if let Some(code) = grpc_status {
                answer = answer.header(GRPC_STATUS, code);
            }
            assert_eq!(mapped_from_http(&answer.body(()).unwrap()).is_some(), is_mapped, "{status} {grpc_status:?}");
        }
    }

    #[test]
    fn a_status_outside_the_defined_ones_is_unknown() {
        for (text, code) in [("0", 0), ("14", 14), ("16", 16), ("17", 2), ("-1", 2), ("x", 2), ("", 2)] {
            assert_eq!(code_from_bytes(text.as_bytes()).number(), code, "{text}");
        }
    }

    #[test]
    fn trailers_with_a_status_are_judged_as_an_answer_without_a_body() {
        let trailers = HeaderMap::from_iter([(GRPC_STATUS, HeaderValue::from_static("14"))]);
        let answer = trailers_only::<()>(trailers).unwrap();
        assert!(is_grpc(answer.headers()));
        assert_eq!(status_in_headers(answer.headers()), Some(GrpcCode::UNAVAILABLE));
        assert!(trailers_only::<()>(HeaderMap::new()).is_none());
    }

    #[test]
    fn a_negative_or_unreadable_pushback_stops() {
        for (text, expected) in [
            ("0", Pushback::After(Duration::ZERO)),
            ("250", Pushback::After(Duration::from_millis(250))),
            ("-1", Pushback::Stop),
            ("soon", Pushback::Stop),
            ("99999999999", Pushback::Stop),
        ] {
            let headers = HeaderMap::from_iter([(GRPC_RETRY_PUSHBACK_MS, text.parse().unwrap())]);
            assert_eq!(pushback(&headers), Some(expected), "{text}");
        }
        assert_eq!(pushback(&HeaderMap::new()), None);
    }

    #[test]
    fn several_pushbacks_stop_whatever_they_say() {
        for values in [["10", "10"], ["10", "20"], ["0", "-1"]] {
            let headers = values.map(|value| (GRPC_RETRY_PUSHBACK_MS, HeaderValue::from_static(value)));
            assert_eq!(pushback(&HeaderMap::from_iter(headers)), Some(Pushback::Stop), "{values:?}");
        }
    }
}
