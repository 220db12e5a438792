//! What every answer says to browsers, whoever made it.

use axum::response::Response;
use http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderName, HeaderValue};

const DEFAULTS: [(HeaderName, &str); 4] = [
    // JSON that a user has chosen a part of must not be taken for a page or a script.
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    // If it is shown as a page nevertheless, it does nothing, and nobody frames it.
    (CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    // User ids are in paths.
    (REFERRER_POLICY, "no-referrer"),
    // Other sites can't load it, not even without reading it.
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Adds these headers, unless the answer has its own: a page needs another policy than JSON.
pub(crate) async fn harden(mut response: Response) -> Response {
    for (name, value) in DEFAULTS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
