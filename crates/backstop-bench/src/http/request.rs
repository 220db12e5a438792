//! A request with ten headers.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri};

const TARGET: &str = "/users/42/recommendations?limit=10";
const HEADERS: &str = "\
host: api.example.com
user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0
accept: application/json
accept-encoding: gzip, deflate, br, zstd
accept-language: en-GB,en;q=0.5
authorization: Bearer 4f1d2c7a9b3e8056
cookie: session=0123456789abcdef0123456789abcdef
x-request-id: 2e1bdd12-9d9f-4a3a-8c2b-6a4f6b1b3a55
x-forwarded-for: 203.0.113.195
traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A GET with ten headers and no body. Its values share one buffer, as hyper's do.
pub(crate) fn request<B: Default>() -> Request<B> {
    let buffer = Bytes::from(HEADERS.to_owned());
    let mut request = Request::new(B::default());
    *request.uri_mut() = Uri::from_maybe_shared(Bytes::from(TARGET.to_owned())).expect("a target");
    for line in str::from_utf8(&buffer).expect("text").lines() {
        let (name, value) = line.split_once(": ").expect("a header");
        let value = HeaderValue::from_maybe_shared(buffer.slice_ref(value.as_bytes())).expect("a value");
        request.headers_mut().insert(HeaderName::from_bytes(name.as_bytes()).expect("a name"), value);
    }
    request
}

/// The text of that request over HTTP/1.1, for another target.
pub(crate) fn request_text(target: &str) -> String {
    let headers: String = HEADERS.lines().map(|line| format!("{line}\r\n")).collect();
    format!("GET {target} HTTP/1.1\r\n{headers}\r\n")
}

/// A clone of a request whose body can't be cloned, but is empty.
pub(crate) fn cloned<B: Default>(request: &Request<B>) -> Request<B> {
    let mut clone = Request::new(B::default());
    clone.method_mut().clone_from(request.method());
    clone.uri_mut().clone_from(request.uri());
    *clone.version_mut() = request.version();
    clone.headers_mut().clone_from(request.headers());
    clone.extensions_mut().clone_from(request.extensions());
    clone
}
