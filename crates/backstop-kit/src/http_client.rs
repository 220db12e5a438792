//! The innermost layer of an HTTP client's stack: a [`Client`] whose responses have a body that layers can wrap.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{Client, ClientFuture, IntoWrapBody, client};

/// Marks `service` as an HTTP client, as [`client`] does, and gives its responses a body that layers can wrap.
///
/// hyper's `Incoming` becomes a [`ClientBody`](crate::ClientBody). The bodies of axum and tonic stay what they are.
/// `backstop::standard` includes it.
///
/// ```
/// use backstop_kit::{ClientBody, http_client};
/// # #[cfg(feature = "hyper-util")]
/// # fn main() {
/// use hyper_util::{client::legacy::Client, rt::TokioExecutor};
///
/// let http: Client<_, ClientBody> = Client::builder(TokioExecutor::new()).build_http();
/// let stack = tower::ServiceBuilder::new().concurrency_limit(100).service(http_client(http));
/// # let _ = stack;
/// # }
/// # #[cfg(not(feature = "hyper-util"))]
/// # fn main() {}
/// ```
#[must_use]
pub const fn http_client<S>(service: S) -> HttpClient<S> {
    HttpClient { inner: client(service) }
}

/// The service that [`http_client`] makes.
#[derive(Clone, Copy, Debug)]
pub struct HttpClient<S> {
    inner: Client<S>,
}

impl<S> HttpClient<S> {
    /// The client.
    pub const fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The client.
    pub const fn get_mut(&mut self) -> &mut S {
        self.inner.get_mut()
    }

    /// The client.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, Req, B> Service<Req> for HttpClient<S>
where
    S: Service<Req, Response = Response<B>>,
    S::Error: 'static,
    B: IntoWrapBody,
{
    type Response = Response<B::Body>;
    type Error = S::Error;
    type Future = HttpClientFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        HttpClientFuture { inner: self.inner.call(request) }
    }
}

pin_project! {
    /// The response future of [`HttpClient`].
    #[must_use = "futures do nothing unless polled"]
    pub struct HttpClientFuture<F> {
        #[pin]
        inner: ClientFuture<F>,
    }
}

impl<F, B, E> Future for HttpClientFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    E: 'static,
    B: IntoWrapBody,
{
    type Output = Result<Response<B::Body>, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        B::into_wrap_body(self.project().inner.poll(cx))
    }
}

impl<F> fmt::Debug for HttpClientFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClientFuture").finish_non_exhaustive()
    }
}
