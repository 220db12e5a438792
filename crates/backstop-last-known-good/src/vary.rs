//! Which request an answer fits (RFC 9111 §4.1).

use std::hash::{DefaultHasher, Hasher};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, VARY},
};

use crate::{fields, headers::IndexedHeaders, key::push};

/// How many variants of one answer are kept, for each principal. Each has a place, by a hash of the fields that it was
/// selected by; two that fall on one place displace each other. So no caller can fill the store with variants.
const PLACES: u64 = 64;

/// More names than this nobody sends, and an answer with more isn't stored.
const MOST_NAMES: usize = 32;

/// The most bytes that are read of an answer's `Vary`. What is longer varies by anything.
const MOST_BYTES: usize = 1024;

/// Whether an answer varies by what can't be told of a request (RFC 9111 §4.1).
pub(crate) fn by_anything(headers: &IndexedHeaders<'_>) -> bool {
    let mut bytes = 0;
    headers.get_all(&VARY).any(|value| {
        bytes += value.len();
        bytes > MOST_BYTES || value.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii() == b"*")
    })
}

/// The names of the fields by which answers are selected, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selectors(Vec<HeaderName>);

impl Selectors {
    /// The names that an answer's `Vary` lists. `None` for what can't be respected: [anything](by_anything), what is no
    /// name, or too many.
    pub(crate) fn of(headers: &IndexedHeaders<'_>) -> Option<Self> {
        if by_anything(headers) {
            return None;
        }
        let mut all = Self::default();
        for value in headers.get_all(&VARY) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if !name.is_empty() {
                    all.insert(HeaderName::from_bytes(name).ok()?);
                }
            }
        }
        (all.0.len() <= MOST_NAMES).then_some(all)
    }

    pub(crate) fn insert(&mut self, name: HeaderName) -> bool {
        let Err(at) = self.0.binary_search_by(|there| there.as_str().cmp(name.as_str())) else {
            return false;
        };
        self.0.insert(at, name);
        true
    }

    /// Whether all that these select by is the coding of an answer.
    pub(crate) fn only_by_coding(&self) -> bool {
        self.0.iter().all(|name| *name == ACCEPT_ENCODING)
    }

    /// Whether those of `other` are among these.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.0.contains(name))
    }

    /// With those of `other`, too. Servers tell `Vary` with some answers and not with others: what is selected by more
    /// fields than need be is still right.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        other.0.iter().for_each(|name| _ = self.insert(name.clone()));
        self
    }

    /// Whether there are more names than are kept.
    pub(crate) fn too_many(&self) -> bool {
        self.0.len() > MOST_NAMES
    }

    /// What a request of these fields selects.
    pub(crate) fn select(&self, request: &[u8]) -> Vec<u8> {
        let values = |name| fields::iter(request).filter(move |(field, _)| *field == name).map(|(_, value)| value);
        self.select_from(|name| values(name.as_str().as_bytes()))
    }

    /// The same, where they are in maps, one after another.
    pub(crate) fn select_from_maps(&self, request: &[&HeaderMap]) -> Vec<u8> {
        self.select_from(|name| {
            request.iter().flat_map(move |headers| headers.get_all(name)).map(HeaderValue::as_bytes)
        })
    }

    /// The values of these fields, in order, with the names.
    fn select_from<'a, I: Iterator<Item = &'a [u8]>>(&'a self, values: impl Fn(&'a HeaderName) -> I) -> Vec<u8> {
        let mut selected = Vec::with_capacity(64 * self.0.len());
        for name in &self.0 {
            values(name).for_each(|value| push(&mut selected, b'=', value));
            // After the values, so that a field that isn't there is told from one that is empty.
            push(&mut selected, b':', name.as_str().as_bytes());
        }
        selected
    }

    pub(crate) fn encode(&self, to: &mut Vec<u8>) {
        for name in &self.0 {
            push(to, b':', name.as_str().as_bytes());
        }
    }

    pub(crate) fn decode(mut rest: &[u8]) -> Option<Self> {
        let mut all = Self::default();
        while let Some((tag, after)) = rest.split_first() {
            let (len, after) = after.split_first_chunk::<4>()?;
            let (name, after) = after.split_at_checked(usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
            if *tag != b':' || !all.insert(HeaderName::from_bytes(name).ok()?) || all.too_many() {
                return None;
            }
            rest = after;
        }
        Some(all)
    }
}

/// The place of what a request selected: the same in every process that was built by the same Rust. Another one may have
/// another place for it, and then has to store it once more.
pub(crate) fn place(selected: &[u8]) -> u8 {
    if selected.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(selected);
    (hasher.finish() % PLACES) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_that_are_alike_spread_evenly() {
        let mut counts = [0_u32; PLACES as usize];
        for (one, other) in (b'a'..=b'z').flat_map(|one| (b'a'..=b'z').map(move |other| (one, other))) {
            let request = HeaderMap::from_iter([(VARY, HeaderValue::from_bytes(&[b'x', b'-', one, other]).unwrap())]);
            let selected = Selectors(vec![VARY]).select_from_maps(&[&request]);
            counts[usize::from(place(&selected))] += 1;
        }
        // 10.6 in each on average.
        assert!(counts.iter().all(|count| (1..30).contains(count)), "{counts:?}");
    }
}
