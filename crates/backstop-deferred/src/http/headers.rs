//! Request headers.

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// An `Idempotency-Key` that isn't one non-empty string of structured fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MalformedKey;

impl fmt::Display for MalformedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the header Idempotency-Key must be one non-empty string in double quotes")
    }
}

impl std::error::Error for MalformedKey {}

/// The `Idempotency-Key` of a request, if there is one, as queues read it: for handlers that pass it on.
///
/// # Errors
/// [`MalformedKey`] if it isn't one non-empty string.
pub fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, MalformedKey> {
    let mut values = headers.get_all(IDEMPOTENCY_KEY).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => string(value.as_bytes()).filter(|key| !key.is_empty()).map(Some).ok_or(MalformedKey),
        // Two fields are one with a comma (RFC 9110 §5.3), which is no string.
        (Some(_), Some(_)) => Err(MalformedKey),
    }
}

/// A string (RFC 9651 §4.2.5), without parameters.
fn string(value: &[u8]) -> Option<String> {
    let quoted = value.trim_ascii().strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let (mut text, mut bytes) = (String::new(), quoted.iter());
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'\\' => bytes.next().filter(|escaped| b"\"\\".contains(escaped))?,
            b' '..=b'!' | b'#'..=b'~' => byte,
            _ => return None,
        };
        text.push(char::from(*byte));
    }
    Some(text)
}

/// Whether a request prefers an answer before the work is done (RFC 7240 §4.1).
pub(super) fn prefers_async(headers: &HeaderMap) -> bool {
    headers.get_all(PREFER).iter().filter_map(|value| HeaderValue::to_str(value).ok()).any(|preferences| {
        let mut is_quoted = false;
        let mut split = preferences.split(|c| {
            is_quoted ^= c == '"';
            c == ',' && !is_quoted
        });
        split.any(|preference| {
            let name = preference.split(';').next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("respond-async")
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key(values: &[&str]) -> Result<Option<String>, MalformedKey> {
        let values = values.iter().map(|value| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(value.as_bytes()).unwrap()));
        idempotency_key(&values.collect())
    }

    #[test]
    fn a_key_is_one_string_of_structured_fields() {
        assert_eq!(key(&[]), Ok(None));
        for (value, expected) in [(r#""17""#, "17"), (r#" "a \"b\" \\ c" "#, r#"a "b" \ c"#), (r#""a,b""#, "a,b")] {
            assert_eq!(key(&[value]), Ok(Some(expected.to_owned())), "{value}");
        }
        for malformed in
            ["", "17", r#"""#, r#""""#, r#""a"#, r#""a"b""#, r#""a\""#, r#""\a""#, r#""a";b"#, "\"é\"", "\"\t\""]
        {
            assert_eq!(key(&[malformed]), Err(MalformedKey), "{malformed}");
        }
        assert_eq!(key(&[r#""a""#, r#""a""#]), Err(MalformedKey));
    }

    #[test]
    fn respond_async_is_found_among_other_preferences() {
        let prefers = |value: &str| prefers_async(&[(PREFER, value.parse().unwrap())].into_iter().collect());
        for value in
            ["respond-async", "Respond-Async, wait=10", r#"x="a, b", respond-async; y"#, "wait=1 , respond-async"]
        {
            assert!(prefers(value), "{value}");
        }
        for value in
            ["", "wait=10", "respond-asynchronously", r#"x=", respond-async""#, "respond-async=no", "x; respond-async"]
        {
            assert!(!prefers(value), "{value}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_string_can_be_a_key(text in "[ -~]{1,80}") {
            let quoted = format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""));
            prop_assert_eq!(key(&[&quoted]), Ok(Some(text)));
        }
    }
}
