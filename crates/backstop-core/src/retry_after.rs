//! Reading `Retry-After` (RFC 9110 §10.2.3).

use std::time::Duration;

use http::{
    HeaderMap,
    header::{DATE, RETRY_AFTER},
};

use crate::http_date;

/// Longer waits make no sense: RFC 9111 §1.2.2 caps delta-seconds at 2^31.
const LONGEST: Duration = Duration::from_secs(1 << 31);

/// How long a server asks to wait, by either form of `Retry-After`. A date in the past is no wait.
///
/// A date is compared with the answer's own `Date`, so that a server's wrong clock doesn't matter, or else with our clock. A
/// value in neither form is ignored.
#[must_use]
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // All digits, so parsing can fail only because the number is too large.
        return Some(text.parse().map_or(LONGEST, Duration::from_secs).min(LONGEST));
    }
    #[expect(clippy::disallowed_types, reason = "HTTP dates are wall-clock time")]
    let now = std::time::SystemTime::now;
    let at = http_date(text.as_bytes())?;
    let base = headers.get(DATE).and_then(|date| http_date(date.as_bytes())).unwrap_or_else(now);
    Some(at.duration_since(base).unwrap_or_default().min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(retry_after: &str, date: Option<&str>) -> Option<Duration> {
        let mut headers = HeaderMap::from_iter([(RETRY_AFTER, retry_after.parse().unwrap())]);
        headers.extend(date.map(|date| (DATE, date.parse().unwrap())));
        super::retry_after(&headers)
    }

    #[test]
    fn seconds_are_read_whole_and_capped() {
        assert_eq!(read("120", None), Some(Duration::from_secs(120)));
        assert_eq!(read("0", None), Some(Duration::ZERO));
        assert_eq!(read("99999999999999999999999", None), Some(LONGEST));
        for bad in ["", "-1", "1.5", "1s", "soon", "+1"] {
            assert_eq!(read(bad, None), None, "{bad:?}");
        }
    }

    #[test]
    fn a_date_is_relative_to_the_servers_clock_and_past_means_now() {
        let date = Some("Wed, 21 Oct 2015 07:28:00 GMT");
        assert_eq!(read("Wed, 21 Oct 2015 07:28:30 GMT", date), Some(Duration::from_secs(30)));
        assert_eq!(read("Wed, 21 Oct 2015 07:27:30 GMT", date), Some(Duration::ZERO));
        assert_eq!(read("Wed, 21 Oct 2015 07:28:30 GMT", None), Some(Duration::ZERO), "long past by our clock");
        assert_eq!(read("Wed, 31 Dec 1969 23:59:59 GMT", date), Some(Duration::ZERO), "before all that is counted");
        assert_eq!(read("wed, 21 oct 2015 07:28:30 gmt", date), Some(Duration::from_secs(30)));
        let ahead = read("Fri, 31 Dec 2399 23:59:59 GMT", None);
        assert_eq!(ahead, Some(LONGEST));
    }
}
