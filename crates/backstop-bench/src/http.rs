//! Requests with ten headers, and the service that answers them.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll},
};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use tower::{Layer, Service};

use crate::call::{is_ready, poll_once};

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

/// What `layered` makes of an upstream and a request with ten headers, called again and again.
pub(crate) fn calls_of<B, S>(layered: impl FnOnce(Upstream<B>) -> S) -> impl FnMut(u64) + Send + 'static
where
    B: Default + Send + 'static,
    S: Service<Request<B>> + Send + 'static,
{
    let upstream = Upstream::new(request());
    calls(upstream, layered(upstream))
}

/// The same of a layer around an upstream with axum's body.
pub(crate) fn calls_through<L>(layer: L) -> impl FnMut(u64) + Send + 'static
where
    L: Layer<Upstream<Body>, Service: Service<Request<Body>> + Send + 'static>,
{
    calls_of(move |upstream| layer.layer(upstream))
}

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

/// Answers at once, and keeps the request for the next call: making one costs more than what is measured.
pub(crate) struct Upstream<B: 'static> {
    kept: &'static Mutex<Kept<B>>,
}

struct Kept<B> {
    request: Option<Request<B>>,
    status: StatusCode,
}

impl<B> Upstream<B> {
    pub(crate) fn new(request: Request<B>) -> Self {
        let kept = Kept { request: Some(request), status: StatusCode::OK };
        // A reference costs the layers that clone their service nothing.
        Self { kept: Box::leak(Box::new(Mutex::new(kept))) }
    }

    /// The request, if it has come back.
    pub(crate) fn take(self) -> Option<Request<B>> {
        self.lock().request.take()
    }

    pub(crate) fn answer_with(self, status: StatusCode) {
        self.lock().status = status;
    }

    fn lock(self) -> MutexGuard<'static, Kept<B>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Default> Upstream<B> {
    #[inline(never)]
    fn answer(self, request: Request<B>) -> Response<B> {
        let mut response = Response::new(B::default());
        let mut kept = self.lock();
        *response.status_mut() = kept.status;
        kept.request = Some(request);
        response
    }
}

impl<B> Clone for Upstream<B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Upstream<B> {}

impl<B: Default> Service<Request<B>> for Upstream<B> {
    type Response = Response<B>;
    type Error = Infallible;
    type Future = Ready<Result<Response<B>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.answer(request)))
    }
}

/// What calls `service`, which stands around `upstream`, with the same request again and again.
pub(crate) fn calls<B, S>(upstream: Upstream<B>, mut service: S) -> impl FnMut(u64) + Send + 'static
where
    B: Send + 'static,
    S: Service<Request<B>> + Send + 'static,
{
    move |_| {
        let request = upstream.take();
        if let Some(request) = request.filter(|_| is_ready(&mut service)) {
            _ = black_box(poll_once(service.call(black_box(request))).is_ok());
        }
    }
}
