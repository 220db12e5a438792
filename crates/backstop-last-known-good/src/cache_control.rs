//! Parses `Cache-Control` (RFC 9111 §5.2) cautiously. Directives that forbid count in any spelling; directives that allow more
//! count only if they are well formed. Parsing takes linear time, and an overlong field counts as `no-store`.

use http::{
    HeaderMap,
    header::{CACHE_CONTROL, PRAGMA},
};

use crate::headers::IndexedHeaders;

/// Seconds, at most 2^31 (RFC 9111 §1.2.2).
pub(crate) const MAX_SECONDS: u32 = 1 << 31;

/// Longer values of `Cache-Control` or `Pragma` count as the strictest reading. Real ones have 100 or 200 bytes.
const MAX_BYTES: usize = 1024;

/// The directives that the rules use. `no-cache` and `private` with field names count as without, as RFC 9111 §5.2.2.4 and
/// §5.2.2.7 allow.
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
    pub(crate) fn of_request(headers: &HeaderMap) -> Self {
        Self::parse(headers.get_all(CACHE_CONTROL)).unwrap_or_default()
    }

    /// Without `Cache-Control`, `Pragma: no-cache` counts as `no-cache`. RFC 9111 §5.4 defines it for requests alone, but
    /// servers that send it mean it.
    pub(crate) fn of_response(headers: &IndexedHeaders<'_>) -> Self {
        Self::parse(headers.get_all(&CACHE_CONTROL)).unwrap_or_else(|| {
            let mut bytes = 0;
            let no_cache = headers.get_all(&PRAGMA).any(|value| {
                bytes += value.len();
                let mut all = value.as_bytes().split(|byte| *byte == b',');
                bytes > MAX_BYTES || all.any(|one| one.trim_ascii().eq_ignore_ascii_case(b"no-cache"))
            });
            Self { no_cache, ..Self::default() }
        })
    }

    /// `None` if there is no value.
    fn parse(values: impl IntoIterator<Item: AsRef<[u8]>>) -> Option<Self> {
        let mut all = None;
        let mut bytes = 0;
        // Bytes rather than text, so that a directive also counts next to one that isn't text.
        for value in values {
            let value = value.as_ref();
            bytes += value.len();
            if bytes > MAX_BYTES {
                return Some(Self { no_store: true, ..Self::default() });
            }
            let all: &mut Self = all.get_or_insert_default();
            directives(value).for_each(|directive| all.add(directive));
        }
        all
    }

    fn add(&mut self, directive: &[u8]) {
        let directive = directive.trim_ascii();
        let equals = directive.iter().position(|byte| *byte == b'=');
        let written = &directive[..equals.unwrap_or(directive.len())];
        let name = written.trim_ascii_end();
        // A space next to `=` isn't allowed, and makes the argument invalid.
        let is_well_formed = name.len() == written.len();
        let argument = equals.map(|at| &directive[at + 1..]).filter(|_| is_well_formed);
        let flag = |flag: &mut bool| *flag = true;
        match name {
            _ if name.eq_ignore_ascii_case(b"no-store") => flag(&mut self.no_store),
            _ if name.eq_ignore_ascii_case(b"no-cache") => flag(&mut self.no_cache),
            _ if name.eq_ignore_ascii_case(b"private") => flag(&mut self.private),
            _ if name.eq_ignore_ascii_case(b"public") => self.public |= equals.is_none(),
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

/// The smallest of several values counts, and an invalid one counts as 0 (RFC 9111 §4.2.1).
fn set(seconds: &mut Option<u32>, argument: Option<&[u8]>) {
    let argument = argument.unwrap_or_default();
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
        Some(sum.saturating_mul(10).saturating_add(digit).min(MAX_SECONDS))
    })
}

/// Splits at commas outside quoted strings. A quote that is never closed doesn't start a quoted string, so it can't hide later
/// directives. After one such quote, later quotes aren't tried, so that parsing stays linear.
fn directives(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = text;
    let mut may_quote = true;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let mut end = 0;
        loop {
            let next = rest[end..].iter().position(|byte| matches!(byte, b',' | b'"'));
            end = next.map_or(rest.len(), |next| end + next);
            if rest.get(end) != Some(&b'"') {
                break;
            }
            let quoted = if may_quote { quoted(&rest[end..]) } else { None };
            may_quote = quoted.is_some();
            end += quoted.unwrap_or(1);
        }
        let directive = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        Some(directive)
    })
}

/// The length of the quoted string at the start of `text`. `None` if it isn't closed.
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
    use http::HeaderValue;

    fn of(headers: &HeaderMap) -> CacheControl {
        CacheControl::of_response(&IndexedHeaders::new(headers))
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
    fn what_allows_more_is_believed_only_where_it_is_well_formed() {
        assert!(read(&["max-age=5, Public"]).public);
        for text in ["public=1", "public =1", "public x", "\"public\""] {
            assert!(!read(&[text]).public, "{text}");
        }
        for text in ["no-store =1", "no-store = 1", " no-store "] {
            assert!(read(&[text]).no_store, "{text}");
        }
        let all = read(&["s-maxage = 9, stale-if-error = 9, stale-while-revalidate = 9"]);
        assert_eq!((all.s_maxage, all.stale_if_error, all.stale_while_revalidate), (Some(0), Some(0), Some(0)));
    }

    #[test]
    fn what_is_longer_than_anybody_needs_forbids() {
        let strictest = CacheControl { no_store: true, ..CacheControl::default() };
        let padding = "x".repeat(MAX_BYTES - "public,".len());
        assert!(read(&[&format!("public,{padding}")]).public);
        assert_eq!(read(&[&format!("public,{padding}x")]), strictest);
        assert_eq!(read(&["public", &padding, "xx"]), strictest, "the lines together");
        assert_eq!(read(&[&"\"".repeat(390_001)]), strictest);
        let pragma = HeaderValue::from_bytes("x,".repeat(MAX_BYTES).as_bytes()).unwrap();
        assert!(of(&HeaderMap::from_iter([(PRAGMA, pragma)])).no_cache);
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
            ("max-age =60", 0),
            ("max-age= 60", 0),
            ("max-age = \"60\"", 0),
            (" max-age=60 , x", 60),
            ("max-age=60, max-age=5", 5),
            ("max-age=5, max-age=x", 0),
            ("max-age", 0),
            ("max-age=-1", 0),
            ("max-age=6.5", 0),
            ("max-age=99999999999999999999", MAX_SECONDS),
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
