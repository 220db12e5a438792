//! `Retry-After`, in any spelling.

use std::time::Duration;

use backstop_core::{http_date, retry_after};
use http::{HeaderMap, HeaderValue, header};

/// The input: a value of `Retry-After`, and after a line feed one of `Date`.
pub(crate) fn holds_for(input: &[u8]) {
    const LONGEST: Duration = Duration::from_secs(1 << 31);

    let (value, date) = match input.iter().position(|byte| *byte == b'\n') {
        Some(at) => (&input[..at], HeaderValue::from_bytes(&input[at + 1..]).ok()),
        None => (input, None),
    };
    let read = |value| {
        let mut headers = HeaderMap::from_iter([(header::RETRY_AFTER, value)]);
        headers.extend(date.clone().map(|date| (header::DATE, date)));
        retry_after(&headers)
    };
    let Ok(header) = HeaderValue::from_bytes(value) else { return };
    let delay = read(header);
    assert!(delay.is_none_or(|delay| delay <= LONGEST));

    let text = value.trim_ascii();
    if !text.is_empty() && text.iter().all(u8::is_ascii_digit) {
        let seconds =
            text.iter().fold(0_u64, |sum, digit| sum.saturating_mul(10).saturating_add((digit - b'0').into()));
        assert_eq!(delay, Some(Duration::from_secs(seconds).min(LONGEST)), "seconds are taken at their word");
    } else if !text.windows(3).any(|zone| zone == b"GMT") && !text.contains(&b':') {
        assert_eq!(delay, None, "neither seconds nor a date");
    }
    if delay.is_some() && date.as_ref().is_some_and(|date| http_date(date.as_bytes()).is_some()) {
        let padded = HeaderValue::from_bytes(&[b" ", value, b"\t "].concat()).unwrap();
        assert_eq!(read(padded), delay, "whitespace around it says nothing, nor does our clock");
    }
}
