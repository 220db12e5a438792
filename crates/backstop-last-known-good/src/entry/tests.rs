use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const LIFETIME: Lifetime = Lifetime { created: Timestamp(7_000), fresh_until: 1, serve_until: 2, revalidate_until: 3 };
const NOON: Timestamp = Timestamp(784_123_200_000);
const ARRIVAL: Arrival = Arrival { at: Timestamp(8_000), date: NOON };

fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
    fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
}

fn written(headers: &HeaderMap, body: &[u8], variant: &[u8]) -> Bytes {
    let mut writer =
        EntryWriter::begin(StatusCode::NO_CONTENT, &IndexedHeaders::new(headers), LIFETIME, ARRIVAL, 0).unwrap();
    body.chunks(3).for_each(|piece| writer.push(piece));
    assert_eq!(writer.body_len(), body.len());
    writer.finish(9, variant, b"").unwrap()
}

#[test]
fn an_answer_comes_out_as_it_went_in() {
    let mut headers =
        headers(&[("date", "Sun, 06 Nov 1994 08:49:37 GMT"), ("via", "a"), ("etag", "\"x\""), ("via", "b")]);
    headers.append("x-bytes", HeaderValue::from_bytes(b"\xff").unwrap());
    let entry = Entry::decode(written(&headers, b"a body", b"chosen")).unwrap();
    assert_eq!((entry.status, entry.generation, entry.lifetime), (StatusCode::NO_CONTENT, 9, LIFETIME));
    assert_eq!((&entry.body()[..], entry.variant()), (&b"a body"[..], &b"chosen"[..]));
    assert_eq!(entry.headers().unwrap(), headers);
}

#[test]
fn an_answer_for_another_node_is_the_same_but_for_its_generation_and_its_variant() {
    let headers = headers(&[("date", "x"), ("content-language", "en")]);
    let entry = Entry::decode(written(&headers, b"a body", b"chosen")).unwrap();
    for variant in [&b"another one"[..], b""] {
        let other = Entry::decode(entry.encode_for(10, variant).unwrap()).unwrap();
        assert_eq!((other.status, other.generation, other.lifetime), (entry.status, 10, entry.lifetime));
        assert_eq!((other.body(), other.variant()), (entry.body(), variant));
        assert_eq!(other.headers(), entry.headers());
        assert_eq!(other.bytes[other.selected_end..], entry.bytes[entry.selected_end..]);
    }
}

#[test]
fn what_is_about_a_connection_is_left_out() {
    let all = headers(&[
        ("date", "x"),
        ("connection", "close, X-Hop"),
        ("connection", "x-other"),
        ("x-hop", "1"),
        ("x-other", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("trailer", "x"),
        ("te", "x"),
        ("upgrade", "x"),
        ("proxy-authenticate", "x"),
        ("age", "100"),
        ("content-length", "6"),
    ]);
    let entry = Entry::decode(written(&all, b"a body", b"")).unwrap();
    assert_eq!(entry.headers().unwrap(), headers(&[("date", "x"), ("content-length", "6")]));
}

#[test]
fn an_answer_with_more_connection_options_than_anybody_needs_is_not_stored() {
    let began = |options: usize| {
        let all = headers(&[("connection", &"x,".repeat(options)), ("date", "x")]);
        EntryWriter::begin(StatusCode::OK, &IndexedHeaders::new(&all), LIFETIME, ARRIVAL, 0).is_some()
    };
    assert!(began(MAX_CONNECTION / 2));
    assert!(!began(MAX_CONNECTION / 2 + 1));
}

#[test]
fn an_answer_without_a_date_gets_the_one_when_it_came() {
    let entry = Entry::decode(written(&HeaderMap::new(), b"", b"")).unwrap();
    assert_eq!(entry.headers().unwrap(), headers(&[("date", "Sun, 06 Nov 1994 12:00:00 GMT")]));
}

#[test]
fn a_head_that_is_too_large_is_not_stored() {
    let large = headers(&[("x-large", &"x".repeat(MAX_HEAD))]);
    assert!(EntryWriter::begin(StatusCode::OK, &IndexedHeaders::new(&large), LIFETIME, ARRIVAL, 0).is_none());
}

#[test]
fn what_breaks_off_or_is_of_another_version_is_garbage() {
    let whole = written(&headers(&[("date", "x")]), b"a body", b"");
    for end in 0..whole.len() {
        assert!(Entry::decode(whole.slice(..end)).is_none(), "{end}");
    }
    let mut other = whole.to_vec();
    other[1] += 1;
    assert!(Entry::decode(other.into()).is_none());
}

#[test]
fn a_node_comes_out_as_it_went_in_and_is_no_answer() {
    let selecting =
        SelectingFields::of(&IndexedHeaders::new(&headers(&[("vary", "Accept, cookie"), ("vary", "accept")]))).unwrap();
    let node = Node { generation: u64::MAX, parent: 7, written: NOON, selecting };
    let bytes = node.encode();
    assert_eq!(Node::decode(&bytes), Some(node));
    assert!(Entry::decode(bytes.clone()).is_none());
    for end in 0..bytes.len() {
        let before_a_name = end == 26 || end == 26 + 5 + "accept".len();
        assert_eq!(Node::decode(&bytes[..end]).is_some(), before_a_name, "{end}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(kind in 0..3_u8, bytes: Vec<u8>) {
        let prefix: &[u8] = match kind { 0 => &ANSWER, 1 => &NODE, _ => &[] };
        let bytes = Bytes::from([prefix, &bytes].concat());
        if let Some(entry) = Entry::decode(bytes.clone()) {
            let _ = entry.headers();
        }
        let _ = Node::decode(&bytes);
    }

    #[test]
    fn an_answer_with_changed_bytes_is_read_without_a_panic(at: prop::sample::Index, byte: u8, body: Vec<u8>) {
        let mut bytes = written(&headers(&[("date", "x"), ("via", "a")]), &body, b"chosen").to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Some(entry) = Entry::decode(bytes.into()) {
            let _ = entry.headers();
        }
    }
}
