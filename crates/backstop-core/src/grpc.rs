//! What HTTP layers must know of gRPC: its requests, its status codes, its pushback.
//!
//! Source: [gRPC over HTTP/2](https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md) and
//! [gRPC retry design, A6](https://github.com/grpc/proposal/blob/master/A6-client-retries.md).

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header::CONTENT_TYPE};

use crate::Pushback;

/// The status of a gRPC answer.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// The text that goes with the status.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// When a server wants to be asked again, in milliseconds; negative for never.
pub const GRPC_RETRY_PUSHBACK_MS: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");
/// How many attempts of this call were made before, in what a client sends again.
pub const GRPC_PREVIOUS_RPC_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// A gRPC status code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GrpcCode(u8);

impl GrpcCode {
    /// 0
    pub const OK: Self = Self(0);
    /// 1: the caller went away, or broke its request off.
    pub const CANCELLED: Self = Self(1);
    /// 2
    pub const UNKNOWN: Self = Self(2);
    /// 4
    pub const DEADLINE_EXCEEDED: Self = Self(4);
    /// 8
    pub const RESOURCE_EXHAUSTED: Self = Self(8);
    /// 13
    pub const INTERNAL: Self = Self(13);
    /// 14
    pub const UNAVAILABLE: Self = Self(14);

    /// The code of that number; numbers that gRPC doesn't define are [`UNKNOWN`](Self::UNKNOWN), as its
    /// specification asks.
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

    /// Whether it says that the caller is to blame, and so that the service is well: `CANCELLED`,
    /// `INVALID_ARGUMENT`, `NOT_FOUND`, `ALREADY_EXISTS`, `PERMISSION_DENIED`, `FAILED_PRECONDITION`, `ABORTED`,
    /// `OUT_OF_RANGE`, `UNIMPLEMENTED`, `UNAUTHENTICATED`.
    #[must_use]
    pub const fn blames_caller(self) -> bool {
        matches!(self.0, 1 | 3 | 5 | 6 | 7 | 9 | 10 | 11 | 12 | 16)
    }
}

/// Whether a request is gRPC's: `POST`, HTTP/2 or later, content type `application/grpc`, alone or followed by `+` or
/// `;`.
#[must_use]
pub fn is_grpc_request<B>(request: &http::Request<B>) -> bool {
    request.method() == Method::POST && request.version() >= Version::HTTP_2 && is_grpc(request.headers())
}

/// Whether a message is gRPC's by its content type: `application/grpc`, alone or followed by `+` or `;`.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"))
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

/// The status that an answer's headers tell at once (a Trailers-Only answer), if they do.
#[must_use]
pub fn status_in_headers(headers: &HeaderMap) -> Option<GrpcCode> {
    let status = headers.get(GRPC_STATUS)?;
    // The header means nothing on another protocol's answer.
    is_grpc(headers).then(|| code_from_bytes(status.as_bytes()))
}

fn code_from_bytes(bytes: &[u8]) -> GrpcCode {
    std::str::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).map_or(GrpcCode::UNKNOWN, GrpcCode::from_number)
}

/// The Trailers-Only answer that tells what these trailers tell, for whoever judges answers by their heads; `None` where
/// they tell no status.
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

/// What `grpc-retry-pushback-ms` says: a wait, or, where it is negative, no number or given more than once, to stop
/// (A6, "Pushback"; grpc-go also stops at several values).
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
    use super::*;

    fn request(method: Method, version: Version, content_type: &str) -> http::Request<()> {
        let mut request = http::Request::new(());
        *request.method_mut() = method;
        *request.version_mut() = version;
        request.headers_mut().insert(CONTENT_TYPE, content_type.parse().unwrap());
        request
    }

    #[test]
    fn only_a_post_over_http2_with_grpcs_content_type_is_grpc() {
        for content_type in ["application/grpc", "application/grpc+proto", "application/grpc;x=1"] {
            assert!(is_grpc_request(&request(Method::POST, Version::HTTP_2, content_type)));
            assert!(!is_grpc_request(&request(Method::POST, Version::HTTP_11, content_type)));
            assert!(!is_grpc_request(&request(Method::GET, Version::HTTP_2, content_type)));
        }
        for content_type in ["application/grpc-web", "application/json", "application/grpcx"] {
            assert!(!is_grpc_request(&request(Method::POST, Version::HTTP_2, content_type)));
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
