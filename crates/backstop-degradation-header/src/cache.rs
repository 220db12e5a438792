//! What caches are told.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AGE, CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED},
};

/// With one of these a cache could store the answer in spite of `no-store` (RFC 9213 §2.2: a targeted field wins over
/// `Cache-Control`; Akamai's and nginx's own do too), or later take it for the real one (RFC 9111 §4.3).
const REMOVED: [HeaderName; 7] = [
    AGE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("edge-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// Targeted fields are named so, after the caches that they are for: `CDN-Cache-Control` is for all shared ones.
const TARGETED: &str = "-cache-control";

pub(crate) fn is_removed(name: &HeaderName) -> bool {
    REMOVED.contains(name) || name.as_str().ends_with(TARGETED)
}

/// Keeps an answer out of every cache.
pub(crate) fn forbid(headers: &mut HeaderMap) {
    let removed: Vec<_> = headers.keys().filter(|name| is_removed(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
