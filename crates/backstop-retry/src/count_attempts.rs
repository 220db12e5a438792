//! Attempt counts in the requests themselves.

use backstop_core::grpc::{self, GRPC_PREVIOUS_RPC_ATTEMPTS};
use backstop_kit::HttpKept;
use http::{HeaderName, Request};

/// How a protocol says in a request how many attempts were made before it.
///
/// Implemented for what a [`CopyRequest`](backstop_kit::CopyRequest) keeps. Requests that aren't HTTP say nothing.
#[diagnostic::on_unimplemented(
    message = "a retry doesn't know how to count attempts in `{Req}`",
    label = "what your strategy keeps of a request doesn't implement `CountAttempts`",
    note = "implement it for `{Self}`; an empty implementation counts nothing"
)]
pub trait CountAttempts<Req> {
    /// Whether the request is HTTP, so that the span of a later attempt has `http.request.resend_count`.
    const IS_HTTP: bool = false;

    /// Says in a copy how many attempts were `made` before it: in `header`, if set, and as the protocol does.
    fn set_attempts(_copy: &mut Req, _made: u32, _header: Option<&HeaderName>) {}

    /// Whether `header` says that an outer tier has sent this request before.
    fn is_retry(_request: &Req, _header: &HeaderName) -> bool {
        false
    }
}

#[diagnostic::do_not_recommend]
impl<Req> CountAttempts<Req> for Req {}

impl<B> CountAttempts<Request<B>> for HttpKept<B> {
    const IS_HTTP: bool = true;

    fn set_attempts(copy: &mut Request<B>, made: u32, header: Option<&HeaderName>) {
        if grpc::is_grpc_request(copy) {
            copy.headers_mut().insert(GRPC_PREVIOUS_RPC_ATTEMPTS, made.into());
        }
        if let Some(header) = header {
            copy.headers_mut().insert(header, made.into());
        }
    }

    fn is_retry(request: &Request<B>, header: &HeaderName) -> bool {
        // A value that can't be read was still meant to say something.
        request.headers().get_all(header).iter().any(|made| made.as_bytes() != b"0")
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Version};

    use super::*;

    type Http = HttpKept<()>;

    const OURS: HeaderName = HeaderName::from_static("x-attempts");

    #[test]
    fn the_number_of_attempts_is_told_in_the_configured_header_and_in_that_of_grpc() {
        let mut http = Request::new(());
        Http::set_attempts(&mut http, 1, None);
        assert!(http.headers().is_empty());
        Http::set_attempts(&mut http, 2, Some(&OURS));
        let grpcs = http.headers().get(&GRPC_PREVIOUS_RPC_ATTEMPTS);
        assert_eq!((&http.headers()[&OURS], grpcs), (&HeaderValue::from(2), None));

        let call = Request::post("/health").version(Version::HTTP_2).header("content-type", "application/grpc");
        let mut call = call.header(GRPC_PREVIOUS_RPC_ATTEMPTS, "7").body(()).unwrap();
        Http::set_attempts(&mut call, 1, None);
        assert_eq!(call.headers().get_all(&GRPC_PREVIOUS_RPC_ATTEMPTS).iter().collect::<Vec<_>>(), ["1"]);
    }

    #[test]
    fn a_request_tells_of_earlier_attempts_in_the_header_that_is_asked_for() {
        let tells = |values: &[&'static str]| {
            let mut request = Request::new(());
            for value in values {
                request.headers_mut().append(&OURS, HeaderValue::from_static(value));
            }
            Http::is_retry(&request, &OURS)
        };
        assert!(tells(&["1"]) && tells(&["0", "2"]) && tells(&["unreadable"]));
        assert!(!tells(&[]) && !tells(&["0"]));
        assert!(!<&str>::is_retry(&"1", &OURS));
    }
}
