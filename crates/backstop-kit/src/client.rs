//! The innermost layer of a client's stack. It knows what the client's errors prove.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::ErrorRef;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::proof::{Entered, IgnoreProof};

/// Marks `service` as a client: each call sends one request, and does nothing else.
///
/// Put it around the client itself, inside all layers. Then a refused connection, HTTP/2's `REFUSED_STREAM`, a GOAWAY that
/// excludes the request's stream, and a request that was cancelled before it was sent are [proof](crate::proof) that the
/// request was not processed, so retries and fallbacks further out may send even a `POST` again. Without it, such errors prove
/// nothing. The features `hyper-util` and `tonic-transport` add the errors of those clients.
///
/// Don't put it around a service that does more than send one request, such as a handler or a service of two steps: if the
/// second step's connection were refused, the first step would count as unprocessed, too.
///
/// ```
/// use backstop_kit::client;
/// # let http = tower::service_fn(|_: http::Request<()>| async { Ok::<_, std::io::Error>(http::Response::new(())) });
///
/// let stack = tower::ServiceBuilder::new().concurrency_limit(100).service(client(http));
/// # let _ = stack;
/// ```
#[must_use]
pub const fn client<S>(service: S) -> Client<S> {
    Client { inner: service }
}

/// The service that [`client`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Client<S> {
    inner: S,
}

impl<S> Client<S> {
    crate::define_inner_service_accessors!();
}

impl<S, Req> Service<Req> for Client<S>
where
    S: Service<Req>,
    S::Error: 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ClientFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let entered = Entered::now();
        // Only the client's error counts.
        let _ignore = IgnoreProof::begin();
        ClientFuture { inner: self.inner.call(request), entered }
    }
}

pin_project! {
    /// The response future of [`Client`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ClientFuture<F> {
        #[pin]
        inner: F,
        entered: Entered,
    }
}

impl<F, Res, E> Future for ClientFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: 'static,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        this.entered.polled();
        let polled = this.inner.poll(cx);
        if let Poll::Ready(Err(error)) = &polled
            && ErrorRef::new(error).proves_unprocessed()
        {
            this.entered.prove();
        }
        polled
    }
}

impl<F> fmt::Debug for ClientFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientFuture").finish_non_exhaustive()
    }
}
