//! Selects the variant of an answer by the request's fields (RFC 9111 §4.1).

use std::hash::{DefaultHasher, Hasher};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{ACCEPT_ENCODING, VARY},
};

use crate::{fields, headers::IndexedHeaders, key::push};

/// How many variants of one answer are kept for each principal. A hash of the variant determines its slot, and two variants in
/// one slot replace each other. So no caller can fill the store with variants.
const SLOTS: u64 = 64;

/// An answer that varies by more fields isn't stored. Nobody sends that many.
const MAX_NAMES: usize = 32;

/// A longer `Vary` counts as `*`, in bytes.
const MAX_BYTES: usize = 1024;

/// Whether an answer varies by something other than request fields: `Vary: *` (RFC 9111 §4.1).
pub(crate) fn by_anything(headers: &IndexedHeaders<'_>) -> bool {
    let mut bytes = 0;
    headers.get_all(&VARY).any(|value| {
        bytes += value.len();
        bytes > MAX_BYTES || value.as_bytes().split(|byte| *byte == b',').any(|one| one.trim_ascii() == b"*")
    })
}

/// The names of the request fields that select a variant, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SelectingFields(Vec<HeaderName>);

impl SelectingFields {
    /// The names in an answer's `Vary`. `None` for [`*`](by_anything), an invalid name, or too many names.
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
        (all.0.len() <= MAX_NAMES).then_some(all)
    }

    pub(crate) fn insert(&mut self, name: HeaderName) -> bool {
        let Err(at) = self.0.binary_search_by(|there| there.as_str().cmp(name.as_str())) else {
            return false;
        };
        self.0.insert(at, name);
        true
    }

    /// Whether the variants differ only by their coding.
    pub(crate) fn only_by_coding(&self) -> bool {
        self.0.iter().all(|name| *name == ACCEPT_ENCODING)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether these include all names of `other`.
    pub(crate) fn cover(&self, other: &Self) -> bool {
        other.0.iter().all(|name| self.0.contains(name))
    }

    /// Adds the names of `other`. Some servers send `Vary` with some answers only. Selecting by more fields than necessary is
    /// still correct.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        other.0.iter().for_each(|name| _ = self.insert(name.clone()));
        self
    }

    /// Whether there are too many names.
    pub(crate) fn is_too_long(&self) -> bool {
        self.0.len() > MAX_NAMES
    }

    /// The variant that a request with these [flattened](fields) fields selects.
    pub(crate) fn variant_in(&self, request: &[u8]) -> Vec<u8> {
        let values = |name| fields::iter(request).filter(move |(field, _)| *field == name).map(|(_, value)| value);
        self.variant_from(|name| values(name.as_str().as_bytes()))
    }

    /// The same for a request whose fields are in several maps.
    pub(crate) fn variant_in_maps(&self, request: &[&HeaderMap]) -> Vec<u8> {
        self.variant_from(|name| {
            request.iter().flat_map(move |headers| headers.get_all(name)).map(HeaderValue::as_bytes)
        })
    }

    /// The values of the selecting fields, in order, with their names.
    fn variant_from<'a, I: Iterator<Item = &'a [u8]>>(&'a self, values: impl Fn(&'a HeaderName) -> I) -> Vec<u8> {
        let mut variant = Vec::with_capacity(64 * self.0.len());
        for name in &self.0 {
            values(name).for_each(|value| push(&mut variant, b'=', value));
            // After the values, so that an absent field differs from an empty one.
            push(&mut variant, b':', name.as_str().as_bytes());
        }
        variant
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
            if *tag != b':' || !all.insert(HeaderName::from_bytes(name).ok()?) || all.is_too_long() {
                return None;
            }
            rest = after;
        }
        Some(all)
    }
}

/// The slot of a variant. It is the same in every process built with the same Rust version. Another version may use another
/// slot, and then stores the answer again.
pub(crate) fn slot(variant: &[u8]) -> u8 {
    if variant.is_empty() {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    hasher.write(variant);
    (hasher.finish() % SLOTS) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variants_that_are_alike_spread_evenly() {
        let mut counts = [0_u32; SLOTS as usize];
        for (one, other) in (b'a'..=b'z').flat_map(|one| (b'a'..=b'z').map(move |other| (one, other))) {
            let request = HeaderMap::from_iter([(VARY, HeaderValue::from_bytes(&[b'x', b'-', one, other]).unwrap())]);
            let variant = SelectingFields(vec![VARY]).variant_in_maps(&[&request]);
            counts[usize::from(slot(&variant))] += 1;
        }
        // 10.6 in each on average.
        assert!(counts.iter().all(|count| (1..30).contains(count)), "{counts:?}");
    }
}
