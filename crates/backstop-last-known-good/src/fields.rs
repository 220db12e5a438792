//! Header fields in one buffer. Each field, in order, is the lengths of its name and value and its sensitive flag, then the
//! name and the value.
//!
//! Decoding never panics, whatever the bytes are.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

const PREFIX: usize = 7;

/// Appends a field. `None` if it is too long for the format: 64 KiB for a name, 4 GiB for a value.
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

/// The size of these fields in bytes.
pub(crate) fn size<'a>(fields: impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)>) -> usize {
    fields.map(|(name, value)| PREFIX + name.as_str().len() + value.len()).sum()
}

/// Where a field's name and value are.
struct FieldRange {
    name: Range<usize>,
    value: Range<usize>,
    sensitive: bool,
}

/// The field that starts at `at`.
fn field_at(bytes: &[u8], at: usize) -> Option<FieldRange> {
    let prefix: &[u8; PREFIX] = bytes.get(at..)?.first_chunk()?;
    let name = at + PREFIX;
    let value = name.checked_add(u16::from_le_bytes([prefix[0], prefix[1]]).into())?;
    let value_len = u32::from_le_bytes([prefix[3], prefix[4], prefix[5], prefix[6]]);
    let end = value.checked_add(usize::try_from(value_len).ok()?)?;
    (end <= bytes.len()).then_some(FieldRange { name: name..value, value: value..end, sensitive: prefix[2] != 0 })
}

/// Names and values in order, up to the first malformed field.
pub(crate) fn iter(bytes: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    let mut at = 0;
    std::iter::from_fn(move || {
        let field_at = field_at(bytes, at)?;
        at = field_at.value.end;
        Some((&bytes[field_at.name], &bytes[field_at.value]))
    })
}

/// The fields as a map, with capacity for `additional` more. `None` if any field is malformed. The values share the memory of
/// `bytes`.
pub(crate) fn to_map(bytes: &Bytes, additional: usize) -> Option<HeaderMap> {
    let mut headers = HeaderMap::try_with_capacity(iter(bytes).count() + additional).ok()?;
    let mut at = 0;
    while at < bytes.len() {
        let FieldRange { name, value, sensitive } = field_at(bytes, at)?;
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
