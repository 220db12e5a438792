//! Text and headers in one piece of memory.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::copy::NotCopied;

/// A text, then headers in order: for each its lengths and flag in eight bytes, its name, its value.
pub(super) struct Flat {
    bytes: Box<[u8]>,
    text: usize,
    names: usize,
}

/// Lengths and flag: the name's length in the low 16 bits (names are at most 65,535 bytes), the sensitive flag in the
/// next one, the value's length above.
const PREFIX: usize = size_of::<u64>();
const SENSITIVE: u64 = 1 << 16;
const VALUE_SHIFT: u32 = 17;

/// What is tried first, in bytes.
const SCRATCH: usize = 1024;

impl Flat {
    pub(super) fn of(text: [&str; 4], headers: &HeaderMap) -> Self {
        let text_size = text.iter().map(|part| part.len()).sum();
        // Most heads fit the stack. Copying them twice costs less than going through them once more for their size.
        let mut scratch = [0; SCRATCH];
        let bytes = match fill(&mut scratch, text, headers) {
            Some(filled) => filled.into(),
            None => Self::sized(text, headers, text_size),
        };
        Self { bytes, text: text_size, names: headers.keys_len() }
    }

    #[cold]
    fn sized(text: [&str; 4], headers: &HeaderMap, text_size: usize) -> Box<[u8]> {
        let field_size = |(name, value): (&HeaderName, &HeaderValue)| PREFIX + name.as_str().len() + value.len();
        let mut bytes = vec![0; text_size + headers.iter().map(field_size).sum::<usize>()];
        fill(&mut bytes, text, headers);
        bytes.into_boxed_slice()
    }

    /// The text, and the headers of the names that `belongs` wants. All share one piece of memory.
    pub(super) fn restore(&self, belongs: impl Fn(&[u8]) -> bool) -> Result<(Bytes, HeaderMap), NotCopied> {
        // The capacity is a hint: a map that is refused it still grows as far as the original could.
        let mut headers = HeaderMap::try_with_capacity(self.names).unwrap_or_default();
        let mut rest = Bytes::copy_from_slice(&self.bytes);
        let text = rest.split_to(self.text);
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

/// Writes all of it to the front of `to`, and returns what was written. `None` if there is no room.
fn fill<'a>(to: &'a mut [u8], text: [&str; 4], headers: &HeaderMap) -> Option<&'a [u8]> {
    let mut filled = 0;
    for part in text {
        let end = filled + part.len();
        put(to.get_mut(filled..end)?, part.as_bytes());
        filled = end;
    }
    for (name, value) in headers {
        let (name, value, sensitive) = (name.as_str().as_bytes(), value.as_bytes(), value.is_sensitive());
        let flag = if sensitive { SENSITIVE } else { 0 };
        let prefix = name.len() as u64 | flag | (value.len() as u64) << VALUE_SHIFT;
        let end = filled + PREFIX + name.len() + value.len();
        let (to_prefix, to) = to.get_mut(filled..end)?.split_first_chunk_mut()?;
        let (to_name, to_value) = to.split_at_mut_checked(name.len())?;
        *to_prefix = prefix.to_le_bytes();
        put(to_name, name);
        put(to_value, value);
        filled = end;
    }
    to.get(..filled)
}

/// Copies between slices of the same length.
///
/// Most names and values are short, and for those a call of `memcpy` costs more than what it copies: two moves of a fixed
/// size, which may overlap, cover any length from one to two times that size.
#[inline]
fn put(to: &mut [u8], from: &[u8]) {
    match from.len() {
        0..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..8 => put_ends::<4>(to, from),
        8..16 => put_ends::<8>(to, from),
        16..=32 => put_ends::<16>(to, from),
        _ => to.copy_from_slice(from),
    }
}

#[inline]
fn put_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    if let (Some(to), Some(from)) = (to.first_chunk_mut::<N>(), from.first_chunk::<N>()) {
        *to = *from;
    }
    if let (Some(to), Some(from)) = (to.last_chunk_mut::<N>(), from.last_chunk::<N>()) {
        *to = *from;
    }
}

#[cfg(test)]
mod tests;
