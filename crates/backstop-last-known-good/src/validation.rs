//! What a 304, or an answer to HEAD, says about the stored answer (RFC 9111 §4.3.4, §4.3.5).
//!
//! A 304 says that the caller's own copy is still current. It says the same about the stored answer only if the request's
//! condition has the validator of the stored answer, and the 304 has no other.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
        SET_COOKIE, TRANSFER_ENCODING,
    },
};

use crate::age::{Timestamp, date};

/// The state of the stored answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Validation {
    /// The service would answer the same now.
    Current,
    /// The service would answer something else now.
    Changed,
    Unknown,
}

/// By a 304 with the fields `response` to a request with the fields `request`.
pub(crate) fn by_not_modified(request: &HeaderMap, response: &HeaderMap, stored: &HeaderMap) -> Validation {
    let known = entity_tag(stored);
    let same_tag = same(entity_tag(response), known, equal_tags);
    let same_date = same(last_modified(response), last_modified(stored), |one, other| one == other);
    match (same_tag, same_date) {
        (Some(false), _) | (None, Some(false)) => return Validation::Changed,
        _ => {}
    }
    let mut conditions = request.get_all(IF_NONE_MATCH).iter().flat_map(|value| tags(value.as_bytes())).peekable();
    let is_requested = if conditions.peek().is_some() || request.contains_key(IF_NONE_MATCH) {
        let (mut of_stored, mut of_others) = (false, false);
        for tag in conditions {
            let is_known = known.is_some_and(|known| equal_tags(tag, known));
            of_stored |= is_known;
            of_others |= !is_known;
        }
        // If the condition has several tags, the 304 must say which one matches.
        of_stored && (!of_others || same_tag == Some(true))
    } else {
        let since = date_of(request, &IF_MODIFIED_SINCE);
        since.is_some() && since == last_modified(stored)
    };
    if is_requested { Validation::Current } else { Validation::Unknown }
}

/// By a good answer to HEAD with the fields `response`. The stored body is `len` bytes long.
pub(crate) fn by_head(response: &HeaderMap, stored: &HeaderMap, len: usize) -> Validation {
    if response.get(CONTENT_ENCODING) != stored.get(CONTENT_ENCODING) {
        return Validation::Unknown;
    }
    let same_tag = same(entity_tag(response), entity_tag(stored), equal_tags);
    let same_date = same(last_modified(response), last_modified(stored), |one, other| one == other);
    let length = response.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let same_length = length.map(|length| length == len as u64);
    match (same_tag, same_date, same_length) {
        (Some(false), ..) | (_, Some(false), _) | (.., Some(false)) => Validation::Changed,
        (Some(true), ..) | (None, Some(true), _) => Validation::Current,
        // A length alone proves nothing.
        (None, None, _) => Validation::Unknown,
    }
}

/// Updates the stored fields from a validating response (RFC 9111 §3.2). Fields about the body keep their stored values.
pub(crate) fn updated(mut stored: HeaderMap, response: &HeaderMap) -> HeaderMap {
    // Otherwise the age would be computed from the old date.
    stored.remove(DATE);
    let is_taken = |name: &&HeaderName| {
        ![CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, SET_COOKIE, TRANSFER_ENCODING].contains(*name)
    };
    for name in response.keys().filter(is_taken) {
        stored.remove(name);
        response.get_all(name).iter().for_each(|value| _ = stored.append(name.clone(), value.clone()));
    }
    stored
}

/// Whether two validators are equal, if both are present.
fn same<T>(one: Option<T>, other: Option<T>, equal: impl FnOnce(T, T) -> bool) -> Option<bool> {
    Some(equal(one?, other?))
}

fn entity_tag(headers: &HeaderMap) -> Option<&[u8]> {
    headers.get(ETAG).map(HeaderValue::as_bytes).map(<[u8]>::trim_ascii)
}

fn last_modified(headers: &HeaderMap) -> Option<Timestamp> {
    date_of(headers, &LAST_MODIFIED)
}

fn date_of(headers: &HeaderMap, name: &HeaderName) -> Option<Timestamp> {
    headers.get(name).and_then(date)
}

/// By weak comparison (RFC 9110 §8.8.3.2).
fn equal_tags(one: &[u8], other: &[u8]) -> bool {
    fn opaque(tag: &[u8]) -> &[u8] {
        tag.strip_prefix(b"W/").unwrap_or(tag)
    }

    opaque(one) == opaque(other)
}

/// The members of a list of entity tags. A tag may contain a comma. Other members, such as `*`, are returned too.
fn tags(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        let start = rest.iter().position(|byte| !matches!(byte, b',' | b' ' | b'\t'))?;
        rest = &rest[start..];
        let mut is_quoted = false;
        let end = rest.iter().position(|byte| {
            is_quoted ^= *byte == b'"';
            *byte == b',' && !is_quoted
        });
        let (tag, after) = rest.split_at(end.unwrap_or(rest.len()));
        rest = after;
        Some(tag.trim_ascii_end())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use Validation::{Changed, Current, Unknown};

    const MONDAY: &str = "Mon, 07 Nov 1994 12:00:00 GMT";
    const SUNDAY: &str = "Sun, 06 Nov 1994 12:00:00 GMT";

    type Fields<'a> = &'a [(&'static str, &'a str)];

    fn headers(fields: Fields<'_>) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_304_says_of_what_is_stored_what_it_says_of_what_was_asked_about() {
        let (tagged, dated, both) = (
            &[("etag", "\"a\"")][..],
            &[("last-modified", SUNDAY)][..],
            &[("etag", "\"a\""), ("last-modified", SUNDAY)][..],
        );
        #[rustfmt::skip]
        let table: &[(Fields<'_>, Fields<'_>, Fields<'_>, Validation)] = &[
            // what was asked, the 304, what is stored
            (&[("if-none-match", "\"a\"")], &[], tagged, Current),
            (&[("if-none-match", "\"a\"")], tagged, tagged, Current),
            (&[("if-none-match", "W/\"a\"")], &[("etag", "W/\"a\"")], tagged, Current),
            (&[("if-none-match", "\"b\"")], &[], tagged, Unknown),
            (&[("if-none-match", "\"b\"")], &[("etag", "\"b\"")], tagged, Changed),
            (&[("if-none-match", "\"a\", \"b\"")], &[], tagged, Unknown),
            (&[("if-none-match", "\"a\", \"b\"")], tagged, tagged, Current),
            (&[("if-none-match", "\"a\""), ("if-none-match", "\"b\"")], &[], tagged, Unknown),
            (&[("if-none-match", "\"a,b\"")], &[], &[("etag", "\"a,b\"")], Current),
            (&[("if-none-match", "*")], tagged, tagged, Unknown),
            (&[("if-none-match", "")], tagged, tagged, Unknown),
            (&[("if-none-match", "\"a")], tagged, tagged, Unknown),
            (&[("if-none-match", "\"a\"")], &[], dated, Unknown),
            // The date isn't looked at where there is a tag (RFC 9110 §13.1.3).
            (&[("if-none-match", "\"b\""), ("if-modified-since", SUNDAY)], &[], both, Unknown),
            (&[("if-modified-since", SUNDAY)], &[], dated, Current),
            (&[("if-modified-since", SUNDAY)], dated, both, Current),
            (&[("if-modified-since", SUNDAY)], &[("etag", "\"b\"")], both, Changed),
            // What is stored may have been changed in between.
            (&[("if-modified-since", MONDAY)], &[], dated, Unknown),
            (&[("if-modified-since", MONDAY)], &[("last-modified", MONDAY)], dated, Changed),
            (&[("if-modified-since", SUNDAY)], &[], tagged, Unknown),
            (&[], tagged, tagged, Unknown),
        ];
        for (asked, told, stored, expected) in table {
            let validation = by_not_modified(&headers(asked), &headers(told), &headers(stored));
            assert_eq!(validation, *expected, "{asked:?} {told:?} {stored:?}");
        }
    }

    #[test]
    fn an_answer_to_head_says_by_its_validators_and_its_length_what_became_of_what_is_stored() {
        #[rustfmt::skip]
        let table: &[(Fields<'_>, Fields<'_>, Validation)] = &[
            // the answer, what is stored, with a body of 4 bytes
            (&[("etag", "\"a\"")], &[("etag", "\"a\"")], Current),
            (&[("etag", "\"a\""), ("content-length", "4")], &[("etag", "\"a\"")], Current),
            (&[("etag", "\"a\""), ("content-length", "5")], &[("etag", "\"a\"")], Changed),
            (&[("etag", "\"b\"")], &[("etag", "\"a\"")], Changed),
            (&[("etag", "\"b\""), ("content-length", "4")], &[], Unknown),
            (&[("last-modified", SUNDAY)], &[("last-modified", SUNDAY)], Current),
            (&[("last-modified", MONDAY)], &[("last-modified", SUNDAY)], Changed),
            (&[("etag", "\"a\""), ("last-modified", MONDAY)], &[("etag", "\"a\""), ("last-modified", SUNDAY)], Changed),
            (&[("content-length", "4")], &[], Unknown),
            (&[("content-length", "5")], &[], Changed),
            (&[("content-length", "5"), ("content-encoding", "gzip")], &[], Unknown),
            (&[], &[("etag", "\"a\"")], Unknown),
        ];
        for (told, stored, expected) in table {
            assert_eq!(by_head(&headers(told), &headers(stored), 4), *expected, "{told:?} {stored:?}");
        }
    }

    #[test]
    fn what_is_about_the_body_stays_and_all_else_is_replaced() {
        let stored = headers(&[("date", SUNDAY), ("content-length", "4"), ("via", "a"), ("via", "b"), ("x-kept", "1")]);
        let told = headers(&[("content-length", "0"), ("via", "c"), ("set-cookie", "s=1"), ("etag", "\"a\"")]);
        let expected = headers(&[("content-length", "4"), ("via", "c"), ("x-kept", "1"), ("etag", "\"a\"")]);
        assert_eq!(updated(stored, &told), expected);
    }

    proptest::proptest! {
        #[test]
        fn any_list_of_tags_is_read_to_its_end(list: Vec<u8>) {
            proptest::prop_assert!(tags(&list).count() <= list.len());
        }
    }
}
