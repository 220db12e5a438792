//! Moves clients to other instances while the service drains.

use std::{
    fmt,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Deadline, Scope, SetBy};
use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONNECTION};
use pin_project_lite::pin_project;
use tokio::{
    sync::{Notify, futures::OwnedNotified},
    time::Instant,
};
use tower_layer::Layer;
use tower_service::Service;

/// How long before requests are cut off their deadline passes, so that they can still answer.
const MARGIN: Duration = Duration::from_millis(500);

/// What requests need to know of a drain. Apart from everything else, because each request counts a reference to it.
#[derive(Debug, Default)]
pub(crate) struct DrainSignal {
    /// When requests are cut off. Set when the drain begins.
    requests_end: OnceLock<Instant>,
    /// Wakes pending requests then.
    wakes_requests: Arc<Notify>,
}

impl DrainSignal {
    pub(super) fn begin(&self, requests_end: Instant) {
        _ = self.requests_end.set(requests_end);
        self.wakes_requests.notify_waiters();
    }

    /// When requests are cut off, if the drain has begun. One atomic load.
    pub(super) fn requests_end(&self) -> Option<Instant> {
        self.requests_end.get().copied()
    }
}

/// A layer that moves clients to other instances while the service drains: see [`Drain::layer`](crate::Drain::layer).
///
/// From t0 on, answers over HTTP/1 have `Connection: close`, so that clients with connections that they keep alive open new
/// ones elsewhere. (Once the listener closes, HTTP/2 connections get a `GOAWAY` from the server.)
///
/// The [deadline](backstop_core::scope) of all requests is clipped to 500 ms before they are cut off, so that they can still be
/// answered, by a fallback or with a 504. Those that are running at t0 are woken for that, and the timeouts of layers inside
/// end them earlier than they would have. A handler that reads its deadline once doesn't see that it was clipped meanwhile.
/// The deadline counts as their caller's, so that no circuit opens because of it.
///
/// Put it outermost, around all other layers. A request that is answered at once costs a reference count and an atomic load.
/// One that waits takes a short lock and allocates once, to be woken.
#[derive(Clone)]
pub struct DrainLayer {
    signal: Arc<DrainSignal>,
}

impl DrainLayer {
    pub(super) const fn new(signal: Arc<DrainSignal>) -> Self {
        Self { signal }
    }
}

impl<S> Layer<S> for DrainLayer {
    type Service = DrainService<S>;

    fn layer(&self, inner: S) -> DrainService<S> {
        DrainService { inner, signal: Arc::clone(&self.signal) }
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
    signal: Arc<DrainSignal>,
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
        let can_close = request.version() <= Version::HTTP_11;
        let signal = Arc::clone(&self.signal);
        let mut clip = Clip { scope: Scope::new(), is_clipped: false, drains: None };
        clip.clip(&signal);
        let inner = {
            let _entered = clip.scope.entered();
            self.inner.call(request)
        };
        DrainFuture { inner, signal, can_close, clip }
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
        signal: Arc<DrainSignal>,
        // Whether the connection can be closed by a header.
        can_close: bool,
        clip: Clip,
    }
}

/// A scope whose deadline is clipped once the drain begins.
struct Clip {
    scope: Scope,
    is_clipped: bool,
    /// Wakes the task then. Boxed, because futures are moved before they are pending.
    drains: Option<Pin<Box<OwnedNotified>>>,
}

impl Clip {
    fn clip(&mut self, signal: &DrainSignal) {
        if !self.is_clipped
            && let Some(end) = signal.requests_end()
        {
            if let Some(deadline) = end.checked_sub(MARGIN) {
                self.scope.narrow(&Scope::narrowed(Deadline::at(deadline, SetBy::Caller)));
            }
            (self.is_clipped, self.drains) = (true, None);
        }
    }

    /// Ready when the deadline has just been clipped, and the call must be polled again to see it.
    fn poll_clip(&mut self, signal: &DrainSignal, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_clipped {
            return Poll::Pending;
        }
        let drains = || Box::pin(Arc::clone(&signal.wakes_requests).notified_owned());
        _ = self.drains.get_or_insert_with(drains).as_mut().poll(cx);
        // It may have begun before this waited for it.
        self.clip(signal);
        if self.is_clipped { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl<F, R, E> Future for DrainFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        this.clip.clip(this.signal);
        let mut response = loop {
            match this.clip.scope.enter(|| this.inner.as_mut().poll(cx)) {
                Poll::Ready(response) => break response,
                Poll::Pending => ready!(this.clip.poll_clip(this.signal, cx)),
            }
        };
        this.clip.scope.pass_on_reports();
        if let Ok(response) = &mut response
            && *this.can_close
            // An upgraded connection isn't closed: RFC 9110, section 7.8, needs its `Connection: upgrade`.
            && response.status() != StatusCode::SWITCHING_PROTOCOLS
            && this.signal.requests_end().is_some()
        {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Poll::Ready(response)
    }
}

impl<F> fmt::Debug for DrainFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DrainFuture").finish_non_exhaustive()
    }
}
