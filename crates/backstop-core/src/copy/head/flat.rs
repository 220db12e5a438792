//! Text and headers in one piece of memory.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::copy::NotCopied;

/// A text, then headers in order: for each its lengths and flag in eight bytes, its name, its value.
pub(super) struct Flat {
    bytes: Vec<u8>,
    text: u32,
    names: u32,
}

/// Lengths and flag: the name's length in the low 16 bits (names are at most 65,535 bytes), the sensitive flag in the
/// next one, the value's length above.
const PREFIX: usize = size_of::<u64>();
const SENSITIVE: u64 = 1 << 16;
const VALUE_SHIFT: u32 = 17;

/// Room for a header, as it is expected: for the most part there is enough for all of them.
const HEADER: usize = 80;

impl Flat {
    /// The `text`, at most 4 GiB in all, and `headers`, each of which is shown to `visit`: going through them costs a good
    /// part of copying them.
    #[inline]
    pub(super) fn of(text: [&str; 4], headers: &HeaderMap, mut visit: impl FnMut(&str, &HeaderValue)) -> Self {
        let size = text.iter().map(|part| part.len()).sum::<usize>();
        let mut bytes = Vec::with_capacity(size + headers.len() * HEADER);
        text.iter().for_each(|part| put(&mut bytes, part.as_bytes()));
        for (name, value) in headers {
            let name = name.as_str();
            visit(name, value);
            let (name, value, sensitive) = (name.as_bytes(), value.as_bytes(), value.is_sensitive());
            let flag = if sensitive { SENSITIVE } else { 0 };
            let prefix = name.len() as u64 | flag | (value.len() as u64) << VALUE_SHIFT;
            bytes.reserve(PREFIX + name.len() + value.len());
            bytes.extend_from_slice(&prefix.to_le_bytes());
            put(&mut bytes, name);
            put(&mut bytes, value);
        }
        Self { bytes, text: size as u32, names: headers.keys_len() as u32 }
    }

    /// The text, and the headers of the names that `belongs` wants. All share one piece of memory.
    pub(super) fn restore(&self, belongs: impl Fn(&[u8]) -> bool) -> Result<(Bytes, HeaderMap), NotCopied> {
        // The capacity is a hint: a map that is refused it still grows as far as the original could.
        let mut headers = HeaderMap::try_with_capacity(self.names as usize).unwrap_or_default();
        let mut rest = Bytes::copy_from_slice(&self.bytes);
        let text = rest.split_to(self.text as usize);
        while let Some(prefix) = rest.first_chunk::<PREFIX>() {
            let prefix = u64::from_le_bytes(*prefix);
            let name_end = PREFIX + (prefix & (SENSITIVE - 1)) as usize;
            let value_end = name_end + (prefix >> VALUE_SHIFT) as usize;
            if rest.len() < value_end {
                return Err(NotCopied::InvalidHead);
            }
            let field = rest.split_to(value_end);
            let name = &field[PREFIX..name_end];
            if belongs(name) {
                let name = HeaderName::from_bytes(name).map_err(|_| NotCopied::InvalidHead)?;
                let value = field.slice(name_end..);
                let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| NotCopied::InvalidHead)?;
                value.set_sensitive(prefix & SENSITIVE != 0);
                headers.try_append(name, value).map_err(|_| NotCopied::InvalidHead)?;
            }
        }
        Ok((text, headers))
    }
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes: a head holds what may not be logged.
        f.debug_struct("Flat").field("size", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// Appends.
///
/// Most names and values are short, and for those a call of `memcpy` costs more than what it copies: two moves of a fixed
/// size, of which the second overwrites the end of the first, cover any length from one to two times that size. Not inlined
/// they cost twice as much.
#[inline(always)]
fn put(to: &mut Vec<u8>, from: &[u8]) {
    match from.len() {
        0..4 => to.extend(from),
        4..8 => put_ends::<4>(to, from),
        8..16 => put_ends::<8>(to, from),
        16..32 => put_ends::<16>(to, from),
        32..=64 => put_ends::<32>(to, from),
        _ => to.extend_from_slice(from),
    }
}

#[inline(always)]
fn put_ends<const N: usize>(to: &mut Vec<u8>, from: &[u8]) {
    if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>()) {
        let end = to.len() + from.len();
        to.extend_from_slice(first);
        to.truncate(end - N);
        to.extend_from_slice(last);
    }
}

#[cfg(test)]
mod tests;
