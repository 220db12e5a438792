//! Whether a request accepts the content coding and the language of a stored answer (RFC 9110 §12.5.3, §12.5.4).
//!
//! Servers that negotiate should send `Vary`. Some don't, so this is checked anyway.
//!
//! Each field is parsed in linear time. An invalid quality counts as 0. An answer with more than [`MAX_MEMBERS`] codings isn't
//! accepted, and of its languages only that many are read.

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, ACCEPT_LANGUAGE, CONTENT_ENCODING, CONTENT_LANGUAGE},
};

use crate::{fields, headers::IndexedHeaders, vary::SelectingFields};

/// The number of codings or languages of one answer that are read.
const MAX_MEMBERS: usize = 8;

/// The request fields by which an answer may have been negotiated, even if its `Vary` doesn't name them.
pub(crate) fn negotiation_fields(headers: &IndexedHeaders<'_>) -> SelectingFields {
    selecting(headers.contains(&CONTENT_ENCODING), headers.contains(&CONTENT_LANGUAGE))
}

fn selecting(coding: bool, language: bool) -> SelectingFields {
    let mut names = SelectingFields::default();
    for (is_there, name) in [(coding, ACCEPT_ENCODING), (language, ACCEPT_LANGUAGE)] {
        if is_there {
            names.insert(name);
        }
    }
    names
}

/// Whether an answer with this head may be served to a request with these fields. `negotiated` holds the original request's
/// [`negotiation_fields`].
///
/// A request with the same values is always served: the server gave this answer to the same preferences.
pub(crate) fn accepts(head: &[u8], negotiated: &[u8], request: &[&HeaderMap]) -> bool {
    let all = |name| request.iter().flat_map(move |headers| headers.get_all(name)).map(HeaderValue::as_bytes);
    let encodings = || all(&ACCEPT_ENCODING);
    if negotiated.is_empty() {
        // Most answers. Only a weight can refuse an answer without a coding.
        return !encodings().any(|value| value.contains(&b';')) || accepts_coding(b"identity", encodings());
    }
    let values = |name: HeaderName| values(head, name);
    let codings = values(CONTENT_ENCODING);
    let languages = values(CONTENT_LANGUAGE);
    let accepts_coding = accepts_codings(codings.clone().flat_map(members), encodings);
    let accepts_language = accepts_a_language(languages.clone().flat_map(members), || all(&ACCEPT_LANGUAGE));
    if accepts_coding && accepts_language {
        return true;
    }
    let (mut codings, mut languages) = (codings, languages);
    let names = selecting(codings.next().is_some(), languages.next().is_some());
    names.variant_in_maps(request) == negotiated
}

fn values(head: &[u8], name: HeaderName) -> impl Iterator<Item = &[u8]> + Clone {
    fields::iter(head).filter(move |(field, _)| *field == name.as_str().as_bytes()).map(|(_, value)| value)
}

/// The non-empty members of a list.
fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// A member without its parameters, and whether its quality is above 0.
fn weighted(member: &[u8]) -> (&[u8], bool) {
    let mut parts = member.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let quality = |part: &[u8]| {
        let (name, value) = part.split_at_checked(2)?;
        name.eq_ignore_ascii_case(b"q=").then(|| is_above_zero(value.trim_ascii()))
    };
    let weighed = parts.all(|part| quality(part).unwrap_or(true));
    (name, weighed)
}

/// `qvalue` (RFC 9110 §12.4.2).
fn is_above_zero(quality: &[u8]) -> bool {
    let (whole, fraction) = quality.split_first().unwrap_or((&b'0', &[]));
    let fraction = match fraction {
        [] => &[][..],
        [b'.', digits @ ..] if digits.len() <= 3 && digits.iter().all(u8::is_ascii_digit) => digits,
        _ => return false,
    };
    let is_zero = fraction.iter().all(|digit| *digit == b'0');
    match whole {
        b'0' => !is_zero,
        b'1' => is_zero,
        _ => false,
    }
}

/// Whether all codings of an answer are accepted. Without `Accept-Encoding` only an answer without a coding is, since the
/// client may not be able to decode any (RFC 9110 §12.5.3 leaves the choice).
fn accepts_codings<'a, I: Iterator<Item = &'a [u8]>>(
    codings: impl Iterator<Item = &'a [u8]>,
    accept: impl Fn() -> I,
) -> bool {
    let (mut coded, mut seen) = (false, 0);
    for coding in codings {
        seen += 1;
        coded |= !coding.eq_ignore_ascii_case(b"identity");
        if seen > MAX_MEMBERS || !accepts_coding(coding, accept()) {
            return false;
        }
    }
    coded || accepts_coding(b"identity", accept())
}

fn accepts_coding<'a>(coding: &'a [u8], accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut named, mut any) = (None, None);
    for (name, is_accepted) in accept.flat_map(members).map(weighted) {
        let said = if name == b"*" {
            &mut any
        } else if canonical(name).eq_ignore_ascii_case(canonical(coding)) {
            &mut named
        } else {
            continue;
        };
        // Of several values, the strictest counts.
        *said = Some(said.unwrap_or(true) && is_accepted);
    }
    named.or(any).unwrap_or(coding.eq_ignore_ascii_case(b"identity"))
}

/// RFC 9110 §8.4.1.1, §8.4.1.3.
fn canonical(coding: &[u8]) -> &[u8] {
    match coding {
        [b'x' | b'X', b'-', rest @ ..]
            if rest.eq_ignore_ascii_case(b"gzip") || rest.eq_ignore_ascii_case(b"compress") =>
        {
            rest
        }
        _ => coding,
    }
}

/// Whether one of an answer's languages is accepted: the answer is meant for the audiences of all of them (RFC 9110 §8.5).
/// Without ranges in `Accept-Language` every language is accepted (§12.5.4).
fn accepts_a_language<'a, I: Iterator<Item = &'a [u8]>>(
    languages: impl Iterator<Item = &'a [u8]>,
    accept: impl Fn() -> I,
) -> bool {
    let mut has_any = false;
    for language in languages.take(MAX_MEMBERS) {
        has_any = true;
        if accepts_language(language, accept()) {
            return true;
        }
    }
    !has_any
}

/// The best matching range decides: by filtering (RFC 4647 §3.3.1), otherwise by lookup (§3.4), otherwise `*`.
fn accepts_language<'a>(language: &'a [u8], accept: impl Iterator<Item = &'a [u8]>) -> bool {
    let (mut has_ranges, mut best) = (false, None);
    for (range, is_accepted) in accept.flat_map(members).map(weighted) {
        has_ranges = true;
        let fit = if range == b"*" {
            0
        } else if is_within(language, range) {
            range.len() + 2
        } else if is_within(range, language) && is_accepted {
            1
        } else {
            continue;
        };
        best = match best {
            Some((better, _)) if better > fit => best,
            Some((same, accepted)) if same == fit => Some((fit, accepted && is_accepted)),
            _ => Some((fit, is_accepted)),
        };
    }
    best.map_or(!has_ranges, |(_, is_accepted)| is_accepted)
}

/// Whether a language is the range, or extends it by subtags.
fn is_within(language: &[u8], range: &[u8]) -> bool {
    let Some((start, rest)) = language.split_at_checked(range.len()) else { return false };
    start.eq_ignore_ascii_case(range) && matches!(rest, [] | [b'-', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coding(accept: &[&str], codings: &str) -> bool {
        accepts_codings(members(codings.as_bytes()), || accept.iter().map(|value| value.as_bytes()))
    }

    fn language(accept: &[&str], languages: &str) -> bool {
        accepts_a_language(members(languages.as_bytes()), || accept.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_coding_is_accepted_by_its_name_or_by_a_star_unless_its_quality_is_zero() {
        for (accept, codings, expected) in [
            (&[][..], "", true),
            (&[], "identity", true),
            (&[], "gzip", false),
            (&[""], "gzip", false),
            (&["gzip"], "gzip", true),
            (&["GZip ; Q=0.5 , br"], "gzip", true),
            (&["x-gzip"], "gzip", true),
            (&["gzip"], "x-gzip", true),
            (&["br", "gzip"], "gzip", true),
            (&["br"], "gzip", false),
            (&["br"], "", true),
            (&["*"], "gzip", true),
            (&["*;q=0"], "gzip", false),
            (&["*;q=0, gzip"], "gzip", true),
            (&["*, gzip;q=0"], "gzip", false),
            (&["gzip;q=0"], "gzip", false),
            (&["gzip;q=0.000"], "gzip", false),
            (&["gzip;q=0.001"], "gzip", true),
            (&["gzip;q=1.000"], "gzip", true),
            (&["gzip;q=1.001"], "gzip", false),
            (&["gzip;q=x"], "gzip", false),
            (&["gzip;q="], "gzip", false),
            (&["gzip", "gzip;q=0"], "gzip", false),
            (&["identity"], "gzip", false),
            (&["identity;q=0"], "", false),
            (&["identity;q=0, gzip"], "gzip", true),
            (&["*;q=0"], "", false),
            (&["*;q=0, identity"], "", true),
            (&["gzip, br"], "gzip, br", true),
            (&["gzip"], "gzip, br", false),
            (&["*"], "a, b, c, d, e, f, g, h, i", false),
        ] {
            assert_eq!(coding(accept, codings), expected, "{codings} by {accept:?}");
        }
    }

    #[test]
    fn a_language_is_accepted_by_the_range_that_fits_it_best() {
        for (accept, languages, expected) in [
            (&[][..], "fr", true),
            (&[""], "fr", true),
            (&["en"], "", true),
            (&["en"], "en", true),
            (&["EN"], "en-us", true),
            (&["en-US"], "en", true),
            (&["en-US;q=0"], "en", false),
            (&["en-US"], "en-GB", false),
            (&["en"], "eng", false),
            (&["en"], "fr", false),
            (&["en, fr;q=0.1"], "fr", true),
            (&["en", "fr"], "fr", true),
            (&["*"], "fr", true),
            (&["*, fr;q=0"], "fr", false),
            (&["*;q=0, fr"], "fr-CA", true),
            (&["fr, fr-CA;q=0"], "fr-CA", false),
            (&["en-US, en;q=0"], "en", false),
            (&["fr"], "en, fr", true),
            (&["de"], "en, fr", false),
        ] {
            assert_eq!(language(accept, languages), expected, "{languages} by {accept:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(accept: Vec<u8>, content: Vec<u8>) {
            let accept = || std::iter::once(&accept[..]);
            _ = accepts_codings(members(&content), accept);
            _ = accepts_a_language(members(&content), accept);
        }
    }
}
