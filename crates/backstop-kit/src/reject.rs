//! The strategies that turn a [`Rejection`] into a response or an error.

use std::{fmt::Write, sync::Arc, time::Duration};

use backstop_core::{
    Rejection,
    grpc::{GRPC_MESSAGE, GRPC_RETRY_PUSHBACK_MS, GRPC_STATUS, GrpcCode, WireProtocol},
};
use http::{
    HeaderValue,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};
use tower_service::Service;

use crate::Protocol;

mod problem_details;

pub use problem_details::{ProblemDetails, problem_response};

/// How a layer makes its own answer, in the types of the wrapped service.
///
/// The default of every layer is [`HttpReject`], which needs a response body that implements `Default`. For other services
/// choose `.reject_as_error()` ([`RejectAsError`]) or `.reject_with(…)` ([`RejectWith`]) on the layer. With
/// `.problem_details()` ([`ProblemDetails`]) the response has a body that says why.
#[diagnostic::on_unimplemented(
    message = "this layer can't make a response of its own for this service",
    label = "no way to answer with `{Res}` or `{E}`",
    note = "by default a layer answers with an `http::Response` whose body has a `Default`",
    note = "for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` \
            around the client",
    note = "for tonic's `InterceptorLayer`, put it outside of this layer, or map the response body between them: \
            `.map_response(|response| response.map(tonic::body::Body::new))`",
    note = "for functions and other services that don't speak HTTP choose `.plain()`; their error must implement \
            `From<Rejection>`, as `BoxError` does: add `.map_err(BoxError::from)` below the layer",
    note = "or choose `.reject_as_error()` where the error implements `From<Rejection>` (`BoxError` does)",
    note = "or choose `.reject_with(|rejection| …)`, which makes the service's own `Result`"
)]
pub trait Reject<Req, Res, E> {
    /// What is kept of the request to reject it later, when it has been consumed.
    type Context;

    /// Takes the context from a request.
    fn context(&self, request: &Req) -> Self::Context;

    /// Makes the answer.
    ///
    /// # Errors
    /// The service's own error, if this strategy rejects with an error.
    fn reject(&self, context: Self::Context, rejection: Rejection) -> Result<Res, E>;
}

/// The [context](Reject::Context) of a request to the service `S`, under the strategies `P`.
pub type ContextOf<S, Req, P> =
    <<P as Protocol>::Reject as Reject<Req, <S as Service<Req>>::Response, <S as Service<Req>>::Error>>::Context;

/// Rejects with an HTTP response, or with a Trailers-Only response if the request is a gRPC call. The default.
///
/// | request | status | headers |
/// |---|---|---|
/// | HTTP | [the rejection's](Rejection::status): 503; 504 for a deadline; 400, 413 or 408 for a request body that broke off, was too large or too slow | `cache-control: no-store`; `retry-after` in seconds, rounded up, if a wait is known |
/// | gRPC | 200, `grpc-status` [the rejection's](Rejection::code): 14; 4 for a deadline; 1, 8 or 4 for a request body | `grpc-message`; with 14, or if a wait is known, `grpc-retry-pushback-ms`: the wait if it is at most 1 s, else −1 |
///
/// The response carries the [`Rejection`] as an extension.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct HttpReject;

#[diagnostic::do_not_recommend]
impl<ReqBody: 'static, ResBody: Default, E> Reject<http::Request<ReqBody>, http::Response<ResBody>, E> for HttpReject {
    type Context = WireProtocol;

    fn context(&self, request: &http::Request<ReqBody>) -> WireProtocol {
        WireProtocol::of(request)
    }

    fn reject(&self, protocol: WireProtocol, rejection: Rejection) -> Result<http::Response<ResBody>, E> {
        Ok(http_response(protocol, rejection))
    }
}

/// The answer of [`HttpReject`], for a strategy that adds to it.
#[must_use]
pub fn http_response<B: Default>(protocol: WireProtocol, rejection: Rejection) -> http::Response<B> {
    let mut response = http::Response::new(B::default());
    match protocol {
        WireProtocol::Http => write_http(&rejection, &mut response),
        grpc => write_grpc(grpc, &rejection, response.headers_mut()),
    }
    response.extensions_mut().insert(rejection);
    response
}

fn write_http<B>(rejection: &Rejection, response: &mut http::Response<B>) {
    *response.status_mut() = rejection.status();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(wait) = rejection.retry_after() {
        headers.insert(RETRY_AFTER, whole_seconds(wait).into());
    }
}

/// Rounded up, and at least 1, so that nobody retries too early.
fn whole_seconds(wait: Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

fn write_grpc(protocol: WireProtocol, rejection: &Rejection, headers: &mut http::HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(protocol.grpc_content_type()));
    headers.insert(GRPC_STATUS, u16::from(rejection.code().number()).into());
    if let Ok(message) = HeaderValue::try_from(percent_encoded(&rejection.to_string())) {
        headers.insert(GRPC_MESSAGE, message);
    }
    // gRPC clients retry `UNAVAILABLE`: the pushback says when, or forbids it. A known wait is always sent.
    if rejection.code() == GrpcCode::UNAVAILABLE || rejection.retry_after().is_some() {
        let millis = match rejection.retry_after() {
            Some(wait) if wait <= Duration::from_secs(1) => wait.as_micros().div_ceil(1000) as i64,
            _ => -1,
        };
        headers.insert(GRPC_RETRY_PUSHBACK_MS, millis.into());
    }
}

/// Encodes a `grpc-message`: printable ASCII stays, the rest is percent-encoded.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            // Writing to a string can't fail.
            _ => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

/// Rejects with the service's error. For errors that implement `From<Rejection>`, as `BoxError` does.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct RejectAsError;

impl RejectAsError {
    /// The strategy; layers choose it by `.reject_as_error()`.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[diagnostic::do_not_recommend]
impl<Req, Res, E: From<Rejection>> Reject<Req, Res, E> for RejectAsError {
    type Context = ();

    fn context(&self, _request: &Req) {}

    fn reject(&self, (): (), rejection: Rejection) -> Result<Res, E> {
        Err(rejection.into())
    }
}

/// Rejects with the result of a closure.
#[derive(Debug)]
pub struct RejectWith<F>(Arc<F>);

impl<F> RejectWith<F> {
    /// The strategy; layers choose it by `.reject_with(…)`.
    #[must_use]
    pub fn new<Res, E>(make: F) -> Self
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        Self(Arc::new(make))
    }
}

// Not derived, which would require `F: Clone`.
impl<F> Clone for RejectWith<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[diagnostic::do_not_recommend]
impl<F, Req, Res, E> Reject<Req, Res, E> for RejectWith<F>
where
    F: Fn(Rejection) -> Result<Res, E>,
{
    type Context = ();

    fn context(&self, _request: &Req) {}

    fn reject(&self, (): (), rejection: Rejection) -> Result<Res, E> {
        (self.0)(rejection)
    }
}

#[cfg(test)]
mod tests;
