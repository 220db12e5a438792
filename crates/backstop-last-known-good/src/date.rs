//! Reading dates (RFC 9110 §5.6.7).

use std::time::Duration;

/// How long after the beginning of 1970 a date is. `None` for what is none, or before that.
pub(crate) fn parse(text: &[u8]) -> Option<Duration> {
    let date = httpdate::parse_http_date(str::from_utf8(text).ok()?.trim()).ok()?;
    date.duration_since(std::time::UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_forms_of_a_date_are_read() {
        for text in ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"] {
            assert_eq!(parse(text.as_bytes()), Some(Duration::from_secs(784_111_777)), "{text}");
            assert_eq!(parse(format!(" {text} ").as_bytes()), Some(Duration::from_secs(784_111_777)), "{text}");
        }
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:37 GM\xff"), None);
        assert_eq!(parse(b"Wed, 31 Dec 1969 23:59:59 GMT"), None);
    }
}
