//! What caches and gateways say in fields of their own: `Cache-Status` ([RFC 9211]) and `Proxy-Status` ([RFC 9209]).
//!
//! Both are lists of RFC 9651. Each cache or gateway on the way appends a member, and leaves the others alone.
//!
//! [RFC 9211]: https://www.rfc-editor.org/rfc/rfc9211
//! [RFC 9209]: https://www.rfc-editor.org/rfc/rfc9209

use backstop_core::{Degradation, Freshness, Name, Reason, Rejection};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use crate::settings::PublicNames;

pub(crate) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
pub(crate) const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Adds a member to `Cache-Status` if the response itself is a stored copy: its extension says so.
pub(crate) fn write_cache_status<B>(public_names: &PublicNames, response: &mut Response<B>) {
    let Some(copy) = response.extensions().get::<Degradation>() else { return };
    if !matches!(copy.freshness(), Freshness::Stale { .. }) {
        return;
    }
    if let Some(cache) = public_names.of_path(copy.path()) {
        let reason = copy.reason();
        let member = format!("{cache}; {}; detail={reason}", forwarded(reason));
        append(response.headers_mut(), &CACHE_STATUS, &member);
    }
}

/// Why the request went forward, and what came back (RFC 9211 §2.2, §2.3); `hit` if it didn't.
fn forwarded(reason: Reason) -> String {
    if let Some(status) = reason.as_str().strip_prefix("status-") {
        return format!("fwd=stale; fwd-status={status}");
    }
    let failed =
        matches!(reason, Reason::TIMEOUT | Reason::ERROR | Reason::BODY) || reason.as_str().starts_with("grpc-");
    if failed { "fwd=stale".to_owned() } else { "hit".to_owned() }
}

/// Adds a member to `Proxy-Status` if the response is a rejection.
#[inline]
pub(crate) fn write_proxy_status<B>(gateway: &Name, response: &mut Response<B>) {
    if let Some(rejection) = Rejection::in_response(response) {
        let member = format!("{gateway}; error={}; details=\"{}\"", error_type(rejection), rejection.reason());
        append(response.headers_mut(), &PROXY_STATUS, &member);
    }
}

/// The type of a proxy error (RFC 9209 §2.3).
fn error_type(rejection: &Rejection) -> &'static str {
    match rejection.reason() {
        _ if rejection.status().is_client_error() => "http_request_error",
        Reason::CIRCUIT_OPEN | Reason::RECOVERING | Reason::ALL_PROVIDERS_FAILED => "destination_unavailable",
        Reason::BULKHEAD_FULL => "connection_limit_reached",
        _ if rejection.outcome().refused => "proxy_internal_response",
        _ if rejection.status() == StatusCode::GATEWAY_TIMEOUT => "http_response_timeout",
        _ => "proxy_internal_error",
    }
}

/// Appends a member, unless a layer of this kind has done so. Names and reasons are tokens, in which nothing is escaped.
fn append(headers: &mut HeaderMap, name: &HeaderName, member: &str) {
    if let Ok(member) = HeaderValue::try_from(member)
        && headers.get_all(name).iter().all(|present| present != member)
    {
        headers.append(name, member);
    }
}
