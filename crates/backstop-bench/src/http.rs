//! Calls of HTTP services, with the same request again and again.

mod request;
mod upstream;

use std::hint::black_box;

use axum::body::{Body, HttpBody};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service};

pub(crate) use self::{
    request::{cloned, request, request_text},
    upstream::{Late, Upstream, ok, unavailable},
};
use crate::call::{is_ready, poll_again, poll_once};

/// What calls `service`, which stands around `upstream`, and reads its answers.
pub(crate) fn calls<B, S>(upstream: Upstream<B>, mut service: S) -> impl FnMut(u64) + Send + 'static
where
    B: HttpBody<Data = Bytes> + Unpin + Send + 'static,
    S: Service<Request<B>, Response = Response<B>> + Send + 'static,
{
    move |_| {
        let request = upstream.take();
        if let Some(request) = request.filter(|_| is_ready(&mut service))
            && let Ok(mut response) = poll_once(service.call(black_box(request)))
        {
            while !response.body().is_end_stream() {
                _ = black_box(poll_once(response.body_mut().frame()).is_some());
            }
            _ = black_box(response);
        }
    }
}

/// What calls `layer` around a service whose answer is there when it is asked again, as one that must be waited for is.
pub(crate) fn late_calls_through<L>(layer: L) -> impl FnMut(u64) + Send + 'static
where
    L: Layer<Late, Service: Service<Request<Body>, Response = Response<Body>> + Send + 'static> + 'static,
{
    let upstream = Upstream::new(request());
    let mut service = layer.layer(Late(upstream));
    move |_| {
        let request = upstream.take();
        if let Some(request) = request.filter(|_| is_ready(&mut service)) {
            _ = black_box(poll_again(service.call(black_box(request))).is_ok());
        }
    }
}

/// The same, where `layered` makes the service, and the request has ten headers.
pub(crate) fn calls_of<B, S>(layered: impl FnOnce(Upstream<B>) -> S) -> impl FnMut(u64) + Send + 'static
where
    B: HttpBody<Data = Bytes> + Default + Unpin + Send + 'static,
    S: Service<Request<B>, Response = Response<B>> + Send + 'static,
{
    let upstream = Upstream::new(request());
    calls(upstream, layered(upstream))
}

/// The same of a layer, with axum's body.
pub(crate) fn calls_through<L>(layer: L) -> impl FnMut(u64) + Send + 'static
where
    L: Layer<Upstream<Body>, Service: Service<Request<Body>, Response = Response<Body>> + Send + 'static> + 'static,
{
    calls_of(move |upstream| layer.layer(upstream))
}
