//! Text and headers in one piece of memory.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::copy::NotCopied;

/// A text, then headers in order: for each its lengths and flag in eight bytes, its name, its value.
pub(super) struct Flat {
    bytes: Box<[u8]>,
    text: u32,
    names: u32,
}

/// Lengths and flag: the name's length in the low 16 bits (names are at most 65,535 bytes), the sensitive flag in the
/// next one, the value's length above.
const PREFIX: usize = size_of::<u64>();
const SENSITIVE: u64 = 1 << 16;
const VALUE_SHIFT: u32 = 17;

/// What is tried first, in bytes.
const SCRATCH: usize = 1024;

impl Flat {
    /// The `text`, at most 4 GiB in all, and `headers`, each of which is shown to `visit`, since going through them is a
    /// good part of copying them. Those of a large head are shown twice.
    #[inline]
    pub(super) fn of(text: [&str; 4], headers: &HeaderMap, mut visit: impl FnMut(&str, &HeaderValue)) -> Self {
        let text_size = text.iter().map(|part| part.len()).sum::<usize>();
        // Most heads fit the stack. Copying them twice costs less than going through them once more for their size.
        let mut scratch = [0; SCRATCH];
        let bytes = match fill(&mut scratch, text, headers, &mut visit) {
            Some(filled) => scratch[..filled].into(),
            None => {
                let mut bytes = vec![0; text_size + headers.iter().map(field_size).sum::<usize>()];
                fill(&mut bytes, text, headers, &mut visit);
                bytes.into_boxed_slice()
            }
        };
        Self { bytes, text: text_size as u32, names: headers.keys_len() as u32 }
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

#[cold]
fn field_size((name, value): (&HeaderName, &HeaderValue)) -> usize {
    PREFIX + name.as_str().len() + value.len()
}

/// Writes all of it to the front of `to`, and says how long it is. `None` if there is no room.
#[inline]
fn fill(
    to: &mut [u8],
    text: [&str; 4],
    headers: &HeaderMap,
    visit: &mut impl FnMut(&str, &HeaderValue),
) -> Option<usize> {
    let size = to.len();
    let mut rest = to;
    for part in text {
        rest = put(rest, part.as_bytes())?;
    }
    for (name, value) in headers {
        let name = name.as_str();
        visit(name, value);
        let (name, value, sensitive) = (name.as_bytes(), value.as_bytes(), value.is_sensitive());
        let flag = if sensitive { SENSITIVE } else { 0 };
        let prefix = name.len() as u64 | flag | (value.len() as u64) << VALUE_SHIFT;
        let (to_prefix, to_name) = rest.split_first_chunk_mut()?;
        *to_prefix = prefix.to_le_bytes();
        rest = put(put(to_name, name)?, value)?;
    }
    Some(size - rest.len())
}

/// Copies to the front of `to`, and returns what is behind it. `None` if there is no room.
///
/// Most names and values are short, and for those a call of `memcpy` costs more than what it copies: two moves of a fixed
/// size, which may overlap, cover any length from one to two times that size.
#[inline(always)]
fn put<'a>(to: &'a mut [u8], from: &[u8]) -> Option<&'a mut [u8]> {
    let (to, rest) = to.split_at_mut_checked(from.len())?;
    match from.len() {
        0..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        4..8 => put_ends::<4>(to, from),
        8..16 => put_ends::<8>(to, from),
        16..32 => put_ends::<16>(to, from),
        32..=64 => put_ends::<32>(to, from),
        _ => to.copy_from_slice(from),
    }
    Some(rest)
}

#[inline(always)]
fn put_ends<const N: usize>(to: &mut [u8], from: &[u8]) {
    let last = from.len() - N;
    to[..N].copy_from_slice(&from[..N]);
    to[last..].copy_from_slice(&from[last..]);
}

#[cfg(test)]
mod tests;
