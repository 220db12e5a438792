//! Moves clients to other instances while the service drains.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, Scope, SetBy};
use http::{HeaderValue, Request, Response, Version, header::CONNECTION};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::shared::Shared;

/// How long before requests are cut off their deadline passes, so that they can still answer.
const MARGIN: Duration = Duration::from_millis(500);

/// A layer that moves clients to other instances while the service drains: see [`Drain::layer`](crate::Drain::layer).
///
/// From t0 on, answers over HTTP/1 have `Connection: close`, so that clients with connections that they keep alive open new
/// ones elsewhere. (Once the listener closes, HTTP/2 connections get a `GOAWAY` from the server.) The
/// [deadline](backstop_core::scope) of requests that come after t0 is clipped to 500 ms before they are cut off. It counts as
/// their caller's, so that no circuit opens because of it.
///
/// Put it outermost, around all other layers. Before t0 it costs one atomic load for each request and answer.
#[derive(Clone)]
pub struct DrainLayer {
    shared: Arc<Shared>,
}

impl DrainLayer {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = DrainService<S>;

    fn layer(&self, inner: S) -> DrainService<S> {
        DrainService { inner, shared: Arc::clone(&self.shared) }
    }
}

impl fmt::Debug for DrainLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainLayer").finish_non_exhaustive()
    }
}

/// The service that [`DrainLayer`] makes.
#[derive(Clone)]
pub struct DrainService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S> DrainService<S> {
    backstop_kit::define_inner_service_accessors!();
}

impl<S, B, R> Service<Request<B>> for DrainService<S>
where
    S: Service<Request<B>, Response = Response<R>>,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = DrainFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let closes = request.version() <= Version::HTTP_11;
        let mut scope = None;
        if self.shared.is_draining.load(Ordering::Acquire) {
            let end = self.shared.drain.borrow().requests_end();
            let deadline = end.and_then(|end| end.checked_sub(MARGIN));
            scope = deadline.map(|deadline| Scope::narrowed(Deadline::at(deadline, SetBy::Caller)));
        }
        let inner = {
            let _entered = scope.as_mut().map(Scope::entered);
            self.inner.call(request)
        };
        DrainFuture { inner, scope, closes: closes.then(|| Arc::clone(&self.shared)) }
    }
}

impl<S: fmt::Debug> fmt::Debug for DrainService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

pin_project! {
    /// The response future of [`DrainService`].
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct DrainFuture<F> {
        #[pin]
        inner: F,
        scope: Option<Scope>,
        // Only where the connection can be closed by a header.
        closes: Option<Arc<Shared>>,
    }
}

impl<F, R, E> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let polled = match this.scope {
            Some(scope) => {
                let polled = scope.enter(|| this.inner.poll(cx));
                if polled.is_ready() {
                    scope.pass_on_reports();
                }
                polled
            }
            None => this.inner.poll(cx),
        };
        polled.map_ok(|mut response| {
            if this.closes.as_ref().is_some_and(|shared| shared.is_draining.load(Ordering::Acquire)) {
                // An upgraded connection isn't closed: RFC 9110, section 7.8, needs its `Connection: upgrade`.
                if response.status() != http::StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
            }
            response
        })
    }
}

impl<F> fmt::Debug for DrainFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainFuture").finish_non_exhaustive()
    }
}
