//! Reading `Cache-Control` (RFC 9111 §5.2) as cautiously as can be: what forbids is seen in any spelling, what allows more
//! is believed only where it is well formed.

use http::header::{CACHE_CONTROL, PRAGMA};

use crate::told::Told;

/// Seconds, at most 2^31 (RFC 9111 §1.2.2).
pub(crate) const MOST_SECONDS: u32 = 1 << 31;

/// The directives that matter here. A `no-cache` or `private` that names fields counts as one that doesn't, as RFC 9111
/// §5.2.2.4 and §5.2.2.7 allow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) max_age: Option<u32>,
    pub(crate) s_maxage: Option<u32>,
    pub(crate) stale_if_error: Option<u32>,
    pub(crate) stale_while_revalidate: Option<u32>,
}

impl CacheControl {
    /// Of a request or a response. One without `Cache-Control` that says `Pragma: no-cache` means it (RFC 9111 §5.4 defines
    /// that for requests alone; of responses it is what their senders believe).
    pub(crate) fn of(told: &Told<'_>) -> Self {
        let mut all = Self::default();
        let mut is_there = false;
        // Bytes, not text: a directive counts also beside one that isn't text.
        for value in told.all(&CACHE_CONTROL) {
            is_there = true;
            let mut rest = value.as_bytes();
            while !rest.is_empty() {
                let (directive, after) = split_directive(rest);
                all.add(directive);
                rest = after;
            }
        }
        if !is_there {
            all.no_cache = told.all(&PRAGMA).any(|value| {
                value
                    .as_bytes()
                    .split(|byte| *byte == b',')
                    .any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
            });
        }
        all
    }

    fn add(&mut self, directive: &[u8]) {
        let equals = directive.iter().position(|byte| *byte == b'=');
        let name = directive[..equals.unwrap_or(directive.len())].trim_ascii();
        let argument = equals.map(|at| &directive[at + 1..]);
        let flag = |flag: &mut bool| *flag = true;
        match name {
            _ if name.eq_ignore_ascii_case(b"no-store") => flag(&mut self.no_store),
            _ if name.eq_ignore_ascii_case(b"no-cache") => flag(&mut self.no_cache),
            _ if name.eq_ignore_ascii_case(b"private") => flag(&mut self.private),
            _ if name.eq_ignore_ascii_case(b"public") => flag(&mut self.public),
            _ if name.eq_ignore_ascii_case(b"must-revalidate") => flag(&mut self.must_revalidate),
            _ if name.eq_ignore_ascii_case(b"proxy-revalidate") => flag(&mut self.proxy_revalidate),
            _ if name.eq_ignore_ascii_case(b"max-age") => set(&mut self.max_age, argument),
            _ if name.eq_ignore_ascii_case(b"s-maxage") => set(&mut self.s_maxage, argument),
            _ if name.eq_ignore_ascii_case(b"stale-if-error") => set(&mut self.stale_if_error, argument),
            _ if name.eq_ignore_ascii_case(b"stale-while-revalidate") => {
                set(&mut self.stale_while_revalidate, argument);
            }
            _ => {}
        }
    }
}

/// Of several values the smallest counts, and one that is no number is 0: who contradicts himself, or can't be read, has
/// no claim to be fresh for long (RFC 9111 §4.2.1).
fn set(seconds: &mut Option<u32>, argument: Option<&[u8]>) {
    let argument = argument.unwrap_or_default().trim_ascii();
    let unquoted = argument.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(argument);
    let read = delta_seconds(unquoted).unwrap_or(0);
    *seconds = Some(seconds.map_or(read, |former| former.min(read)));
}

/// `delta-seconds` (RFC 9111 §1.2.2).
pub(crate) fn delta_seconds(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u32, |sum, digit| {
        let digit = char::from(*digit).to_digit(10)?;
        Some(sum.saturating_mul(10).saturating_add(digit).min(MOST_SECONDS))
    })
}

/// Splits off what comes before the next comma that isn't in a quoted string. A quote that is never closed is none, so that
/// it can't hide what follows.
fn split_directive(text: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    while let Some(next) = text[at..].iter().position(|byte| matches!(byte, b',' | b'"')) {
        at += next;
        if text[at] == b',' {
            return (&text[..at], &text[at + 1..]);
        }
        at += quoted(&text[at..]).unwrap_or(1);
    }
    (text, &[])
}

/// The length of the quoted string that `text` begins with, where it ends at all.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderMap, HeaderValue};

    fn of(headers: &HeaderMap) -> CacheControl {
        CacheControl::of(&Told::by(headers))
    }

    fn read(values: &[&str]) -> CacheControl {
        let value = |value: &&str| HeaderValue::from_bytes(value.as_bytes()).unwrap();
        of(&values.iter().map(|text| (CACHE_CONTROL, value(text))).collect())
    }

    #[test]
    fn what_forbids_is_seen_in_any_spelling() {
        for text in [
            "no-store",
            "No-Store",
            "max-age=5 ,NO-STORE",
            "no-store=1",
            "x=\"a, b\", no-store",
            "x=\"a\\\", b\", no-store",
            "x=\"never closed, no-store",
            "x=é, no-store",
            ", ,no-store,",
        ] {
            assert!(read(&[text]).no_store, "{text}");
        }
        assert!(read(&["max-age=5", "no-store"]).no_store, "on a line of its own");
        assert!(read(&["private=\"set-cookie, x-a\""]).private);
        assert!(read(&["No-Cache=\"set-cookie\""]).no_cache);
    }

    #[test]
    fn what_is_quoted_is_no_directive() {
        assert_eq!(read(&["x=\"public, max-age=9, no-store\""]), CacheControl::default());
    }

    #[test]
    fn a_time_is_a_number_of_seconds_or_none_at_all() {
        for (text, expected) in [
            ("max-age=60", 60),
            ("Max-Age=\"60\"", 60),
            ("max-age = 60", 60),
            ("max-age=60, max-age=5", 5),
            ("max-age=5, max-age=x", 0),
            ("max-age", 0),
            ("max-age=-1", 0),
            ("max-age=6.5", 0),
            ("max-age=99999999999999999999", MOST_SECONDS),
        ] {
            assert_eq!(read(&[text]).max_age, Some(expected), "{text}");
        }
        assert_eq!(read(&["public"]).max_age, None);
    }

    #[test]
    fn pragma_counts_where_there_is_no_cache_control() {
        let pragma = (PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(of(&HeaderMap::from_iter([pragma.clone()])).no_cache);
        let beside = (CACHE_CONTROL, HeaderValue::from_static("max-age=5"));
        assert!(!of(&HeaderMap::from_iter([pragma, beside])).no_cache);
    }
}
