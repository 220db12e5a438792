//! The headers that come out are those that went in.

use http::header::{ACCEPT, AUTHORIZATION, COOKIE, HOST, SET_COOKIE};
use proptest::prelude::*;

use super::*;

const GET: Line<'static> = Line { method: &Method::GET, target: None, version: Version::HTTP_11 };

fn flat(headers: &HeaderMap) -> Flat {
    Flat::of(GET, headers, |_, _| ())
}

fn fields(headers: &HeaderMap) -> Vec<(String, Vec<u8>, bool)> {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec(), value.is_sensitive())
    };
    headers.iter().map(field).collect()
}

fn names() -> impl Strategy<Value = HeaderName> {
    let standard = prop::sample::select(vec![ACCEPT, AUTHORIZATION, COOKIE, HOST, SET_COOKIE]);
    // Few of them, so that they repeat.
    let custom = "x-[a-c]{1,2}".prop_map(|name| HeaderName::try_from(name).unwrap());
    let any = "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}".prop_map(|name| HeaderName::try_from(name).unwrap());
    prop_oneof![2 => standard, 2 => custom, 1 => any]
}

fn values() -> impl Strategy<Value = HeaderValue> {
    // RFC 9110 §5.5: visible characters, space, tab and obs-text.
    let byte = prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8];
    (prop::collection::vec(byte, 0..200), any::<bool>()).prop_map(|(bytes, sensitive)| {
        let mut value = HeaderValue::from_bytes(&bytes).unwrap();
        value.set_sensitive(sensitive);
        value
    })
}

proptest! {
    #[test]
    fn any_length_is_put_whole(from in prop::collection::vec(any::<u8>(), 0..100)) {
        let mut to = vec![0; from.len() + 3];
        prop_assert_eq!(put(&mut to, &from), Some(&mut [0; 3][..]));
        prop_assert_eq!(&to[..from.len()], &from);
        prop_assert!(from.is_empty() || put(&mut to[1..from.len()], &from).is_none());
    }

    #[test]
    fn any_headers_are_rebuilt_exactly(fields_in in prop::collection::vec((names(), values()), 0..40)) {
        let mut headers = HeaderMap::new();
        for (name, value) in fields_in {
            headers.append(name, value);
        }
        let rebuilt = flat(&headers).restore(|_, _| To::Headers).unwrap().headers;
        prop_assert_eq!(fields(&rebuilt), fields(&headers));
        prop_assert_eq!(rebuilt, headers);
    }
}

#[test]
fn a_removed_header_leaves_the_order_of_the_others() {
    let mut headers = HeaderMap::new();
    for name in ["x-a", "x-b", "x-c", "x-d"] {
        headers.append(name, HeaderValue::from_static("1"));
        headers.append(name, HeaderValue::from_static("2"));
    }
    headers.remove("x-a");
    let rebuilt = flat(&headers).restore(|_, _| To::Headers).unwrap().headers;
    assert_eq!(fields(&rebuilt), fields(&headers));
}

#[test]
fn the_largest_head_is_rebuilt() {
    let mut headers = HeaderMap::new();
    let long = "n".repeat(65_535);
    headers.insert(HeaderName::try_from(long).unwrap(), HeaderValue::from_bytes(&vec![b'v'; 1 << 20]).unwrap());
    for number in 0..24_000 {
        headers.append(HeaderName::try_from(format!("x-{number}")).unwrap(), HeaderValue::from_static(""));
    }
    assert_eq!(flat(&headers).restore(|_, _| To::Headers).unwrap().headers, headers);
}

#[test]
fn heads_around_the_size_of_the_stack_s_share_are_rebuilt() {
    for size in SCRATCH - 50..SCRATCH + 2 {
        let value = HeaderValue::from_bytes(&vec![b'v'; size]).unwrap();
        let headers = HeaderMap::from_iter([(HOST, value)]);
        let target = Uri::from_static("http://a/b?c");
        let flat = Flat::of(Line { target: Some(&target), ..GET }, &headers, |_, _| ());
        assert_eq!(flat.bytes.len(), FRONT + "GEThttp://a/b?c".len() + PREFIX + "host".len() + size);
        let restored = flat.restore(|_, _| To::Headers).unwrap();
        assert_eq!((&restored.target[..], restored.headers), (&b"http://a/b?c"[..], headers));
    }
}

#[test]
fn no_headers_are_no_map() {
    assert_eq!(flat(&HeaderMap::new()).restore(|_, _| To::Headers).unwrap().headers.capacity(), 0);
}

#[test]
fn any_method_and_version_come_out_again() {
    let own = [Method::from_bytes(b"M").unwrap(), Method::try_from("X-".repeat(200).as_str()).unwrap()];
    for method in [Method::GET, Method::DELETE, Method::CONNECT].iter().chain(&own) {
        for version in VERSIONS {
            let restored =
                Flat::of(Line { method, version, ..GET }, &HeaderMap::new(), |_, _| ()).restore(|_, _| To::Headers);
            let restored = restored.unwrap();
            assert_eq!((&restored.method, restored.version), (method, version));
        }
    }
}

#[test]
fn the_flat_bytes_are_sized_exactly_and_values_share_them() {
    let headers = HeaderMap::from_iter([
        (ACCEPT, HeaderValue::from_static("text/plain")),
        (HOST, HeaderValue::from_static("example.com")),
    ]);
    let flat = flat(&headers);
    assert_eq!(flat.bytes.len(), FRONT + 2 * PREFIX + "GETaccepttext/plainhostexample.com".len());
    let rebuilt = flat.restore(|_, _| To::Headers).unwrap().headers;
    let (accept, host) = (rebuilt[ACCEPT].as_bytes(), rebuilt[HOST].as_bytes());
    let between = PREFIX + "host".len();
    assert_eq!(accept.as_ptr_range().end.wrapping_add(between), host.as_ptr());
}

#[test]
fn broken_flat_bytes_are_an_error() {
    let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text"))]);
    let whole = flat(&headers).bytes;
    for length in 0..whole.len() {
        // Between two headers nothing is missing but the rest of them.
        let restored = Flat { bytes: whole[..length].into() }.restore(|_, _| To::Headers);
        assert!(matches!(restored.map(|head| head.headers.len()), Err(NotCopied::InvalidHead) | Ok(0)), "{length}");
    }
}
