//! What copies of requests are.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Version};
use http_body::Body;
use http_body_util::{BodyExt, Empty, Full};

use super::*;
use crate::{
    Repeat, ReplayableBody,
    body::tests::script::{Erased, Script, data, read_all, read_some},
};

const REPRESENTATION: [&str; 3] = ["range", "if-range", "if-modified-since"];
const BODY: [&str; 7] = [
    "content-type",
    "content-length",
    "content-encoding",
    "content-something-new",
    "transfer-encoding",
    "trailer",
    "expect",
];
const OTHER: [&str; 6] = ["accept", "authorization", "te", "x-content-type", "x-range", "contentious"];

fn request<B>(body: B) -> Request<B> {
    let mut request = Request::put("https://example.com:8443/items?id=1").version(Version::HTTP_2).body(body).unwrap();
    for name in REPRESENTATION.iter().chain(&BODY).chain(&OTHER) {
        request.headers_mut().append(*name, HeaderValue::from_static("1"));
    }
    request.headers_mut().append("accept", HeaderValue::from_static("2"));
    request.extensions_mut().insert("an extension");
    request
}

fn names<B>(request: &Request<B>) -> Vec<&str> {
    request.headers().keys().map(HeaderName::as_str).collect()
}

fn kept_of<B: ReplayableBody>(copying: HttpCopy, request: &mut Request<B>, keep: Keep) -> HttpKept<B> {
    let mut facts = CopyRequest::facts(&copying, request);
    copying.keep(request, &mut facts, keep).unwrap()
}

fn stream(chunks: &[&'static str]) -> Erased {
    Erased::new(Script::new(chunks.iter().map(|chunk| data(chunk.as_bytes()))))
}

#[tokio::test]
async fn a_copy_as_the_same_is_the_same() {
    let copying = HttpCopy::default();
    let mut sent = request(stream(&["hello ", "world"]));
    let mut kept = kept_of(copying, &mut sent, Keep::Whole);
    drop(sent);
    for _ in 0..2 {
        let copy = kept.copy(CopyAs::Same).unwrap();
        let original = request(());
        assert_eq!(copy.method(), Method::PUT);
        assert_eq!(copy.uri(), original.uri());
        assert_eq!(copy.version(), Version::HTTP_2);
        assert_eq!(copy.headers(), original.headers());
        assert_eq!(copy.extensions().get(), Some(&"an extension"));
        assert_eq!(read_all(copy.into_body()).await.unwrap().0, b"hello world");
    }
}

#[tokio::test]
async fn the_request_that_is_sent_now_is_untouched() {
    for keep in [Keep::Head, Keep::Whole] {
        let mut sent = request(Full::new(Bytes::from("hello")));
        let _kept = kept_of(HttpCopy::default(), &mut sent, keep);
        assert_eq!(sent.headers(), request(()).headers());
        assert_eq!(sent.uri(), request(()).uri());
        assert_eq!(sent.extensions().get(), Some(&"an extension"));
        assert_eq!(sent.into_body().collect().await.unwrap().to_bytes(), "hello");
    }
}

#[tokio::test]
async fn a_provider_s_copy_names_no_representation() {
    let copying = HttpCopy::default();
    let mut sent = request(stream(&["hello"]));
    let mut kept = kept_of(copying, &mut sent, Keep::Whole);
    let copy = kept.copy(CopyAs::ForAnotherSource).unwrap();
    assert_eq!(names(&copy), [&BODY[..], &OTHER[..]].concat());
    assert_eq!(copy.headers().get_all("accept").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(read_all(copy.into_body()).await.unwrap().0, b"hello");
}

#[test]
fn a_head_only_copy_says_nothing_of_a_body() {
    let copying = HttpCopy::default();
    for keep in [Keep::Head, Keep::Whole] {
        let mut sent = request(stream(&["hello"]));
        let mut kept = kept_of(copying, &mut sent, keep);
        let copy = kept.copy(CopyAs::HeadOnly).unwrap();
        assert_eq!(names(&copy), OTHER);
        assert!(copy.body().is_end_stream());
        assert_eq!(copy.uri(), request(()).uri());
    }
}

#[test]
fn a_head_only_copy_tells_what_of_a_body_it_leaves_out() {
    let copying = HttpCopy::default();
    let (hello, empty) = (|| Full::new(Bytes::from("hello")), Full::<Bytes>::default);
    for keep in [Keep::Head, Keep::Whole] {
        let left_out = |mut sent| {
            let copy = kept_of(copying, &mut sent, keep).copy(CopyAs::HeadOnly).unwrap();
            copy.extensions().get::<LeftOut>().cloned()
        };
        let all = left_out(request(hello())).unwrap();
        assert_eq!(all.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), BODY);
        assert!(all.has_body());
        let no_body = left_out(request(empty())).unwrap();
        assert!(no_body.headers().len() == BODY.len() && !no_body.has_body());
        let no_fields = left_out(Request::new(hello())).unwrap();
        assert!(no_fields.headers().is_empty() && no_fields.has_body());
        assert!(left_out(Request::new(empty())).is_none());

        let mut sent = request(hello());
        let mut kept = kept_of(copying, &mut sent, Keep::Whole);
        for copy in [CopyAs::Same, CopyAs::ForAnotherSource] {
            assert!(kept.copy(copy).unwrap().extensions().get::<LeftOut>().is_none());
        }
    }
}

#[tokio::test]
async fn a_head_only_copy_doesn_t_disturb_the_body_being_sent() {
    let copying = HttpCopy::default();
    let mut sent = request(stream(&["hello ", "world"]));
    let mut kept = kept_of(copying, &mut sent, Keep::Whole);
    read_some(sent.body_mut(), 1).await.unwrap();
    kept.copy(CopyAs::HeadOnly).unwrap();
    assert_eq!(read_all(sent.into_body()).await.unwrap().0, b"world");
}

#[test]
fn of_a_head_there_is_no_whole_copy() {
    let copying = HttpCopy::default();
    let mut sent = request(Full::new(Bytes::from("hello")));
    let mut kept = kept_of(copying, &mut sent, Keep::Head);
    for copy in [CopyAs::Same, CopyAs::ForAnotherSource] {
        assert_eq!(kept.copy(copy).map(drop), Err(NotCopied::HeadOnly));
    }
}

#[tokio::test]
async fn a_body_over_the_cap_is_sent_once_and_the_reason_is_told() {
    let copying = HttpCopy::default().max_body(4).unwrap();
    let mut sent = request(stream(&["hello"]));
    let mut kept = kept_of(copying, &mut sent, Keep::Whole);
    assert_eq!(kept.replay_state(), ReplayState::Partly);
    assert_eq!(read_all(sent.into_body()).await.unwrap().0, b"hello");
    assert_eq!(kept.replay_state(), ReplayState::Nothing(NotReplayable::TooLarge));
    let refused = kept.copy(CopyAs::Same).map(drop);
    assert_eq!(refused, Err(NotCopied::Body(NotReplayable::TooLarge)));
    assert!(kept.copy(CopyAs::HeadOnly).is_ok());
}

#[test]
fn a_body_at_its_end_is_held_whole() {
    let copying = HttpCopy::default().max_body(0).unwrap();
    let mut sent = request(Erased::default());
    let mut kept = kept_of(copying, &mut sent, Keep::Whole);
    assert_eq!(kept.replay_state(), ReplayState::Whole);
    assert!(kept.copy(CopyAs::Same).unwrap().body().is_end_stream());
}

#[test]
fn a_cap_beyond_reason_is_refused() {
    let error = HttpCopy::default().max_body(usize::MAX).unwrap_err();
    assert_eq!(error.field, "max_body");
    assert!(HttpCopy::default().max_body(1024 * 1024 * 1024).is_ok());
}

#[cfg(feature = "hyper-util")]
#[test]
fn what_stands_for_the_live_connection_isn_t_copied() {
    let mut original = request(Full::new(Bytes::new()));
    let on_upgrade = hyper::upgrade::on(&mut original);
    original.extensions_mut().insert(on_upgrade);
    let copying = HttpCopy::default();
    let mut kept = kept_of(copying, &mut original, Keep::Whole);
    assert!(original.extensions().get::<hyper::upgrade::OnUpgrade>().is_some());
    let copy = kept.copy(CopyAs::Same).unwrap();
    assert!(copy.extensions().get::<hyper::upgrade::OnUpgrade>().is_none());
    assert_eq!(copy.extensions().get(), Some(&"an extension"));
}

#[test]
fn any_clone_request_is_copied_on_its_user_s_word() {
    let mut sent = String::from("SELECT 1");
    assert!(CopyRequest::<String>::facts(&CloneCopy, &sent).is_idempotent());
    let mut kept = CloneCopy.keep(&mut sent, &mut RequestFacts::none(), Keep::Whole).unwrap();
    assert_eq!(sent, "SELECT 1");
    assert_eq!(kept.copy(CopyAs::Same).unwrap(), "SELECT 1");
    assert_eq!(kept.replay_state(), ReplayState::Whole);
}

#[test]
fn idempotent_methods_are_those_of_rfc_9110() {
    for (method, idempotent) in [
        ("GET", true),
        ("HEAD", true),
        ("OPTIONS", true),
        ("TRACE", true),
        ("PUT", true),
        ("DELETE", true),
        ("POST", false),
        ("PATCH", false),
        ("CONNECT", false),
        ("PROPFIND", false),
        ("get", false),
    ] {
        let facts = RequestFacts::of(&Request::builder().method(method).body(()).unwrap());
        assert_eq!(facts.is_idempotent(), idempotent, "{method}");
        assert_eq!(facts.is_upgrade(), method == "CONNECT");
    }
}

fn facts(version: Version, headers: &[(&'static str, &[u8])]) -> RequestFacts {
    let mut request = Request::post("/").version(version).body(Empty::<Bytes>::new()).unwrap();
    for (name, value) in headers {
        request.headers_mut().append(*name, HeaderValue::from_bytes(value).unwrap());
    }
    let facts = RequestFacts::of(&request);
    let (copying, mut known) = (HttpCopy::default(), RequestFacts::without_headers(&request));
    let kept = copying.keep(&mut request, &mut known, Keep::Whole);
    assert_eq!((known, kept.is_none()), (facts, facts.is_upgrade()));
    facts
}

#[test]
fn an_upgrade_is_the_option_and_a_protocol_in_any_spelling_over_http_1_1_alone() {
    let upgrades: [&[(&'static str, &[u8])]; 6] = [
        &[("connection", b"upgrade"), ("upgrade", b"websocket")],
        &[("upgrade", b"WebSocket"), ("connection", b"keep-alive, UpGrade\t")],
        &[("connection", b"keep-alive"), ("upgrade", b"x/1"), ("connection", b"x,upgrade,y")],
        &[("connection", b"\xff,upgrade"), ("upgrade", b"websocket")],
        &[("connection", b"Upgrade, HTTP2-Settings"), ("upgrade", b"h2c, websocket")],
        &[("connection", b"upgrade"), ("upgrade", b"h2c"), ("upgrade", b"TLS/1.2")],
    ];
    for headers in upgrades {
        assert_eq!(facts(Version::HTTP_11, headers), RequestFacts::none().upgrade());
        for version in [Version::HTTP_10, Version::HTTP_2, Version::HTTP_3] {
            assert_eq!(facts(version, headers), RequestFacts::none(), "{version:?}");
        }
    }
}

#[test]
fn what_asks_for_no_protocol_that_a_server_could_switch_to_is_no_upgrade() {
    let ordinary: [&[(&'static str, &[u8])]; 8] = [
        // nginx, with `proxy_set_header Connection "upgrade"` for every request.
        &[("connection", b"upgrade")],
        &[("connection", b"upgrade"), ("upgrade", b"")],
        &[("connection", b"upgrade"), ("upgrade", b" , ")],
        &[("upgrade", b"websocket")],
        &[("connection", b"keep-alive"), ("upgrade", b"websocket")],
        &[("connection", b"upgrades, no-upgrade"), ("upgrade", b"websocket")],
        // Java's HttpClient, and `curl --http2`.
        &[("connection", b"Upgrade, HTTP2-Settings"), ("upgrade", b"h2c"), ("http2-settings", b"AAMAAABkAAQAoAAA")],
        &[("connection", b"upgrade"), ("upgrade", b"H2C, h2")],
    ];
    for headers in ordinary {
        assert_eq!(facts(Version::HTTP_11, headers), RequestFacts::none(), "{headers:?}");
    }
}

#[test]
fn keys_and_early_data_are_noted() {
    assert!(facts(Version::HTTP_2, &[("idempotency-key", b"\"7\"")]).has_idempotency_key());
    assert!(!facts(Version::HTTP_2, &[("idempotency-key", b"")]).has_idempotency_key());
    // Invalid or repeated values count as 1.
    for value in [&b"1"[..], b"0", b"yes"] {
        assert!(facts(Version::HTTP_11, &[("early-data", value)]).is_early_data());
    }
    assert_eq!(facts(Version::HTTP_11, &[("accept", b"*/*")]), RequestFacts::default());
}

#[test]
fn debug_output_shows_nothing_of_the_request() {
    let mut headers = HeaderMap::new();
    headers.insert("authorization", HeaderValue::from_static("secret"));
    let mut request = Request::get("/secret").body(stream(&["secret"])).unwrap();
    *request.headers_mut() = headers;
    let kept = kept_of(HttpCopy::default(), &mut request, Keep::Whole);
    assert!(!format!("{kept:?}").contains("secret"));
}

#[test]
fn reasons_are_readable() {
    let (_, mut replay) = Full::new(Bytes::from("hello")).split(1);
    let reason = NotCopied::from(replay.copy().unwrap_err());
    assert_eq!(reason.to_string(), "the body is larger than the buffer");
}

#[test]
fn a_guarded_change_stays_guarded_and_a_conditional_read_becomes_a_plain_one() {
    for (method, kept_guards) in [(Method::PUT, true), (Method::DELETE, true), (Method::GET, false)] {
        let mut sent = Request::new(Full::new(Bytes::new()));
        *sent.method_mut() = method.clone();
        for guard in ["if-match", "if-none-match", "if-unmodified-since"] {
            sent.headers_mut().insert(guard, "x".parse().unwrap());
        }
        let mut kept = kept_of(HttpCopy::default(), &mut sent, Keep::Whole);
        for copy in [CopyAs::ForAnotherSource, CopyAs::HeadOnly] {
            let copy = kept.copy(copy).unwrap();
            assert_eq!(copy.headers().len(), if kept_guards { 3 } else { 0 }, "{method}");
        }
    }
}

#[test]
fn an_extension_overrides_what_the_method_says() {
    let of =
        |method, word: Repeat| RequestFacts::of(&Request::builder().method(method).extension(word).body(()).unwrap());
    assert!(of("POST", Repeat::Safe).is_idempotent() && !of("POST", Repeat::Safe).is_never_repeated());
    assert!(of("GET", Repeat::Never).is_never_repeated() && !of("POST", Repeat::Never).is_idempotent());
    assert!(of("CONNECT", Repeat::Safe).is_upgrade());
    assert!(of("POST", Repeat::Safe).may_be_repeated() && !of("GET", Repeat::Never).may_be_repeated());
}
