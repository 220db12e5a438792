//! What a message tells by its fields.

use http::{HeaderMap, HeaderName, HeaderValue, header::GetAll};

/// The fields of a request or an answer, for who asks for many that aren't there.
///
/// A look-up in the map hashes the name. So one walk over all names makes a set that is a little larger than theirs, and only
/// what is in it is looked up.
#[derive(Clone, Copy)]
pub(crate) struct Told<'a> {
    headers: &'a HeaderMap,
    /// A bit for each name; some share one.
    names: u64,
}

impl<'a> Told<'a> {
    pub(crate) fn by(headers: &'a HeaderMap) -> Self {
        Self { headers, names: headers.keys().fold(0, |names, name| names | bit(name)) }
    }

    pub(crate) const fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    /// Whether the field isn't there, as far as that is known without a look-up.
    #[inline]
    pub(crate) fn surely_lacks(&self, name: &HeaderName) -> bool {
        self.names & bit(name) == 0
    }

    #[inline]
    pub(crate) fn has(&self, name: &HeaderName) -> bool {
        !self.surely_lacks(name) && self.headers.contains_key(name)
    }

    /// The first value.
    #[inline]
    pub(crate) fn first(&self, name: &HeaderName) -> Option<&'a HeaderValue> {
        if self.surely_lacks(name) { None } else { self.headers.get(name) }
    }

    /// All values, in order.
    #[inline]
    pub(crate) fn all(&self, name: &HeaderName) -> impl Iterator<Item = &'a HeaderValue> + use<'a> {
        let all: Option<GetAll<'a, HeaderValue>> = (!self.surely_lacks(name)).then(|| self.headers.get_all(name));
        all.into_iter().flatten()
    }
}

/// Of the names that are asked for, and of those that most messages have, few share one. Of a constant name it is a constant.
#[inline(always)]
fn bit(name: &HeaderName) -> u64 {
    let name = name.as_str().as_bytes();
    let end = name.last().copied().unwrap_or_default();
    let middle = name.get(name.len() / 2).copied().unwrap_or_default();
    1 << ((name.len() as u32 + u32::from(end) * 4 + u32::from(middle) * 7) % u64::BITS)
}

#[cfg(test)]
mod tests {
    use http::header::{COOKIE, ETAG, PRAGMA, RANGE, VARY};

    use super::*;

    #[test]
    fn what_is_told_is_what_the_map_holds() {
        let x_none = HeaderName::from_static("x-none");
        let mut headers = HeaderMap::new();
        for (name, value) in [(VARY, "a"), (ETAG, "b"), (VARY, ""), (PRAGMA, "c")] {
            headers.append(name, HeaderValue::from_static(value));
        }
        let told = Told::by(&headers);
        for name in [VARY, ETAG, PRAGMA, COOKIE, RANGE, x_none] {
            assert_eq!(told.has(&name), headers.contains_key(&name), "{name}");
            assert_eq!(told.first(&name), headers.get(&name), "{name}");
            assert!(told.all(&name).eq(headers.get_all(&name)), "{name}");
        }
    }

    #[test]
    fn a_name_that_shares_its_bit_with_another_is_told_from_it() {
        for (there, other) in [(ETAG, COOKIE), (PRAGMA, RANGE)] {
            let headers = HeaderMap::from_iter([(there, HeaderValue::from_static("a"))]);
            let told = Told::by(&headers);
            assert!(!told.surely_lacks(&other) && !told.has(&other), "{other}");
        }
    }
}
