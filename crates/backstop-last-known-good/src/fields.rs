//! Header fields as bytes: for each, in order, the lengths of its name and value and its sensitive flag, then the name and
//! the value.
//!
//! Reading never panics, whatever the bytes are.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const PREFIX: usize = 7;

/// Appends a field. One that is too long for the format (a name is at most 64 KiB, a value 4 GiB) is `None`.
#[inline(always)]
pub(crate) fn put(to: &mut Vec<u8>, name: &HeaderName, value: &HeaderValue) -> Option<()> {
    let (name, sensitive, value) = (name.as_str().as_bytes(), value.is_sensitive(), value.as_bytes());
    let (name_len, value_len) = (u16::try_from(name.len()).ok()?, u32::try_from(value.len()).ok()?);
    let ([n0, n1], [v0, v1, v2, v3]) = (name_len.to_le_bytes(), value_len.to_le_bytes());
    to.reserve(PREFIX + name.len() + value.len());
    to.extend_from_slice(&[n0, n1, sensitive.into(), v0, v1, v2, v3]);
    to.extend_from_slice(name);
    to.extend_from_slice(value);
    Some(())
}

/// How many bytes these fields take.
pub(crate) fn size<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> usize {
    fields.map(|(name, value)| PREFIX + name.as_str().len() + value.len()).sum()
}

/// Where a field's name and value stand.
struct Place {
    name: Range<usize>,
    value: Range<usize>,
    sensitive: bool,
}

/// The field that begins at `at`.
fn place(bytes: &[u8], at: usize) -> Option<Place> {
    let prefix: &[u8; PREFIX] = bytes.get(at..)?.first_chunk()?;
    let name = at + PREFIX;
    let value = name.checked_add(u16::from_le_bytes([prefix[0], prefix[1]]).into())?;
    let value_len = u32::from_le_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]);
    let end = value.checked_add(usize::try_from(value_len).ok()?)?;
    (end <= bytes.len()).then_some(Place { name: name..value, value: value..end, sensitive: prefix[2] != 0 })
}

/// The fields' names and values, in order, up to where the bytes are none any more.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let mut at = 0;
    std::iter::from_fn(move || {
        let place = place(bytes, at)?;
        at = place.value.end;
        Some((&bytes[place.name], &bytes[place.value]))
    })
}

/// The fields as a map, with `room` for that many more, if the bytes are fields from beginning to end. The values share the
/// memory of `bytes`.
pub(crate) fn to_map(bytes: &Bytes, room: usize) -> Option<HeaderMap> {
    let mut headers = HeaderMap::try_with_capacity(iter(bytes).count() + room).ok()?;
    let mut at = 0;
    while at < bytes.len() {
        let Place { name, value, sensitive } = place(bytes, at)?;
        at = value.end;
        let name = HeaderName::from_bytes(&bytes[name]).ok()?;
        let mut value = HeaderValue::from_maybe_shared(bytes.slice(value)).ok()?;
        value.set_sensitive(sensitive);
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(headers: &HeaderMap) -> Bytes {
        let mut bytes = Vec::new();
        headers.iter().for_each(|(name, value)| put(&mut bytes, name, value).unwrap());
        assert_eq!(bytes.len(), size(headers.iter()));
        bytes.into()
    }

    #[test]
    fn fields_come_out_as_they_went_in() {
        let mut headers = HeaderMap::new();
        headers.append("via", HeaderValue::from_static("a"));
        headers.append("x-bytes", HeaderValue::from_bytes(b"\xff\xfe").unwrap());
        headers.append("via", HeaderValue::from_static(""));
        let mut secret = HeaderValue::from_static("s");
        secret.set_sensitive(true);
        headers.append("x-secret", secret);
        let read = to_map(&written(&headers), 0).unwrap();
        assert_eq!(read, headers);
        assert!(read["x-secret"].is_sensitive() && !read["via"].is_sensitive());
        assert!(read.get_all("via").iter().eq(["a", ""]));
    }

    #[test]
    fn bytes_that_break_off_are_no_fields() {
        let whole = written(&HeaderMap::from_iter([(http::header::AGE, HeaderValue::from_static("1"))]));
        for end in 1..whole.len() {
            assert_eq!(to_map(&whole.slice(..end), 0), None);
            assert_eq!(iter(&whole[..end]).count(), 0);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let _ = iter(&bytes).count();
            let _ = to_map(&Bytes::from(bytes), 1);
        }
    }
}
