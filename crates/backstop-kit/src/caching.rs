//! Cache headers of degraded answers.

use std::time::Duration;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{AGE, CACHE_CONTROL, ETAG, EXPIRES, LAST_MODIFIED},
};

use backstop_core::Freshness;

/// Because of one of these headers, a cache could store the answer in spite of `no-store` (RFC 9213 §2.2: a targeted field
/// overrides `Cache-Control`, as do Akamai's and nginx's own), or mistake it for the real one later (RFC 9111 §4.3).
const REMOVED: [HeaderName; 7] = [
    AGE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    HeaderName::from_static("edge-control"),
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("x-accel-expires"),
];

/// The ending of targeted fields. `CDN-Cache-Control`, for example, is for all shared caches.
const TARGETED: &str = "-cache-control";

/// The greatest age that HTTP can express (RFC 9111 §1.2.2).
const MOST_SECONDS: u64 = 1 << 31;

/// Sets the cache headers of an answer by its freshness.
///
/// | the answer is | the headers |
/// |---|---|
/// | fresh | stay the same |
/// | stale, of known age | get that `Age`, unless theirs is greater; the others stay the same |
/// | stale, of unknown age; degraded | get `Cache-Control: no-store`, and lose all others [for caches](governs) |
pub fn set_headers(headers: &mut HeaderMap, freshness: Freshness) {
    match freshness {
        Freshness::Fresh => {}
        Freshness::Stale { age: Some(known) } => {
            let age = age(headers).map_or(known, |other| other.max(known));
            headers.insert(AGE, whole_seconds(age).into());
        }
        _ => forbid(headers),
    }
}

/// Whether a header of this name must be removed to keep an answer out of caches: it could make a cache store the answer all
/// the same, or mistake it for the real one later.
#[must_use]
pub fn governs(name: &HeaderName) -> bool {
    REMOVED.contains(name) || name.as_str().ends_with(TARGETED)
}

/// An answer's `Age`. Of several, the greatest: a cache uses the first one (RFC 9111 §5.1), which may be too small.
#[must_use]
pub fn age(headers: &HeaderMap) -> Option<Duration> {
    let fields = headers.get_all(AGE).iter().filter_map(|field| field.to_str().ok());
    fields.flat_map(|field| field.split(',')).filter_map(|text| seconds(text.trim())).max()
}

/// Parses a number of seconds (RFC 9111 §1.2.2), however large.
#[must_use]
pub fn seconds(text: &str) -> Option<Duration> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Duration::from_secs(text.parse().unwrap_or(MOST_SECONDS)))
}

/// An age in seconds, for `Age`. Rounded down, because it counts seconds that have passed (RFC 9111 §5.1).
#[must_use]
pub fn whole_seconds(age: Duration) -> u64 {
    age.as_secs().min(MOST_SECONDS)
}

fn forbid(headers: &mut HeaderMap) {
    let removed: Vec<_> = headers.keys().filter(|name| governs(name)).cloned().collect();
    for name in removed {
        headers.remove(name);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_number_of_seconds_and_of_several_the_greatest() {
        let read = |text: &'static str| age(&HeaderMap::from_iter([(AGE, HeaderValue::from_static(text))]));
        assert_eq!(read("912"), Some(Duration::from_secs(912)));
        assert_eq!(read("5, 912"), Some(Duration::from_secs(912)));
        assert!(read("99999999999999999999999").is_some());
        for bad in ["", "-1", "+1", "1.5", "x"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
