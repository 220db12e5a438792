//! A request's line and headers in one allocation.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};

use crate::copy::NotCopied;

/// The numbers of [`FRONT`], the method, the target, and the headers in order. A header is [`PREFIX`], its name, its value.
pub(super) struct Flat {
    bytes: Box<[u8]>,
}

/// The method, the target if it is part of the bytes, and the version.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) method: &'a Method,
    pub(super) target: Option<&'a Uri>,
    pub(super) version: Version,
}

/// A restored head.
pub(super) struct Restored {
    pub(super) method: Method,
    /// Its text. Empty if it isn't part of the bytes.
    pub(super) target: Bytes,
    pub(super) version: Version,
    pub(super) headers: HeaderMap,
    pub(super) left_out: HeaderMap,
}

/// Where a restored header goes.
pub(super) enum To {
    Headers,
    LeftOut,
    Nowhere,
}

/// The size of four numbers of 32 bits: the method's length, the target's length, the number of names, the version.
const FRONT: usize = size_of::<u128>();

/// The size of a header's lengths and flag: the name's length in the low 16 bits (names are at most 65,535 bytes), the
/// sensitive flag in the next one, the value's length above.
const PREFIX: usize = size_of::<u64>();
const SENSITIVE: u64 = 1 << 16;
const VALUE_SHIFT: u32 = 17;

/// The size of the buffer on the stack, in bytes.
const SCRATCH: usize = 1024;

/// All versions. A version is stored as its index.
const VERSIONS: [Version; 5] = [Version::HTTP_09, Version::HTTP_10, Version::HTTP_11, Version::HTTP_2, Version::HTTP_3];

impl Flat {
    /// Calls `visit` with each header, because walking over them is a large part of the cost. Twice for a large head.
    #[inline]
    pub(super) fn of(line: Line<'_>, headers: &HeaderMap, mut visit: impl FnMut(&str, &HeaderValue)) -> Self {
        // Most heads fit the stack. Copying them twice costs less than a walk over the headers to add up their sizes.
        let mut scratch = [0; SCRATCH];
        let bytes = match fill(&mut scratch, line, headers, &mut visit) {
            Some(filled) => scratch[..filled].into(),
            None => {
                let mut bytes = vec![0; size(line, headers)];
                fill(&mut bytes, line, headers, &mut visit);
                bytes.into_boxed_slice()
            }
        };
        Self { bytes }
    }

    /// Restores the head. `to` decides by the method and a header's name where the header goes. All texts share one
    /// allocation.
    pub(super) fn restore(&self, to: impl Fn(&Method, &[u8]) -> To) -> Result<Restored, NotCopied> {
        let mut rest = Bytes::copy_from_slice(&self.bytes);
        let front = take(&mut rest, FRONT)?;
        let front = u128::from_le_bytes(*front.first_chunk().ok_or(NotCopied::InvalidHead)?);
        let [method, target, names, version] = [0, 32, 64, 96].map(|shift| (front >> shift) as u32 as usize);
        let method = Method::from_bytes(&take(&mut rest, method)?).map_err(|_| NotCopied::InvalidHead)?;
        let target = take(&mut rest, target)?;
        // The capacity is a hint. If it is refused, the map still grows as far as the original did.
        let mut headers = HeaderMap::try_with_capacity(names).unwrap_or_default();
        let mut left_out = HeaderMap::new();
        while let Some(prefix) = rest.first_chunk::<PREFIX>() {
            let prefix = u64::from_le_bytes(*prefix);
            let name_end = PREFIX + (prefix & (SENSITIVE - 1)) as usize;
            let field = take(&mut rest, name_end + (prefix >> VALUE_SHIFT) as usize)?;
            let name = &field[PREFIX..name_end];
            let to = match to(&method, name) {
                To::Headers => &mut headers,
                To::LeftOut => &mut left_out,
                To::Nowhere => continue,
            };
            let name = HeaderName::from_bytes(name).map_err(|_| NotCopied::InvalidHead)?;
            let value = field.slice(name_end..);
            let mut value = HeaderValue::from_maybe_shared(value).map_err(|_| NotCopied::InvalidHead)?;
            value.set_sensitive(prefix & SENSITIVE != 0);
            to.try_append(name, value).map_err(|_| NotCopied::InvalidHead)?;
        }
        let version = *VERSIONS.get(version).ok_or(NotCopied::InvalidHead)?;
        Ok(Restored { method, target, version, headers, left_out })
    }
}

impl fmt::Debug for Flat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes, which must not be logged.
        f.debug_struct("Flat").field("size", &self.bytes.len()).finish_non_exhaustive()
    }
}

fn take(rest: &mut Bytes, length: usize) -> Result<Bytes, NotCopied> {
    if rest.len() < length { Err(NotCopied::InvalidHead) } else { Ok(rest.split_to(length)) }
}

#[cold]
fn size(line: Line<'_>, headers: &HeaderMap) -> usize {
    let target = line.target.map_or(0, |target| texts(target).iter().map(|text| text.len()).sum());
    let field = |(name, value): (&HeaderName, &HeaderValue)| PREFIX + name.as_str().len() + value.len();
    FRONT + line.method.as_str().len() + target + headers.iter().map(field).sum::<usize>()
}

/// The target's text, in parts.
#[inline]
fn texts(target: &Uri) -> [&str; 4] {
    let path = target.path_and_query().map_or("", |path| path.as_str());
    match (target.scheme_str(), target.authority()) {
        (Some(scheme), Some(authority)) => [scheme, "://", authority.as_str(), path],
        _ => ["", "", "", path],
    }
}

/// Writes the head to the front of `to`, and returns its length. `None` if there is no room.
#[inline]
fn fill(
    to: &mut [u8],
    line: Line<'_>,
    headers: &HeaderMap,
    visit: &mut impl FnMut(&str, &HeaderValue),
) -> Option<usize> {
    let size = to.len();
    let (front, to) = to.split_first_chunk_mut()?;
    let method = line.method.as_str().as_bytes();
    let mut rest = put(to, method)?;
    let before_target = rest.len();
    if let Some(target) = line.target {
        for text in texts(target) {
            rest = put(rest, text.as_bytes())?;
        }
    }
    let target = before_target - rest.len();
    let version = VERSIONS.iter().position(|version| *version == line.version)?;
    *front = [method.len(), target, headers.keys_len(), version]
        .iter()
        .rev()
        .fold(0, |front, number| front << 32 | *number as u128)
        .to_le_bytes();
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

/// Copies to the front of `to`, and returns the rest of `to`. `None` if there is no room.
///
/// Most names and values are short. For those, calling `memcpy` costs more than copying: two moves of a fixed size, which
/// may overlap, cover any length between that size and twice that size.
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
