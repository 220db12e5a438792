//! Calling a service once it is ready.

use std::{
    borrow::BorrowMut,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Progress, polled_again,
    proof::{self, Entered, IsBelieved},
};

/// Whether a service is ready to be called: what its `poll_ready` said last, if it wasn't called since.
///
/// A clone of a ready service is not ready.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// It was not asked, is pending, or failed.
    #[default]
    NotReady,
    /// It is ready for one call.
    Ready,
}

/// `Ready` for a service that is ready, `NotReady` for one that is pending or failed.
impl<E> From<&Poll<Result<(), E>>> for Readiness {
    #[inline]
    fn from(polled: &Poll<Result<(), E>>) -> Self {
        match polled {
            Poll::Ready(Ok(())) => Self::Ready,
            Poll::Ready(Err(_)) | Poll::Pending => Self::NotReady,
        }
    }
}

/// A call that reports its progress.
pub trait Call: Future {
    /// How far it got.
    fn progress(&self) -> Progress {
        Progress::Called
    }

    /// [Proves](crate::proof) that nothing was called, if that is so. Called when the call is ended.
    fn prove_not_called(&self) {}
}

/// A boxed call counts as called from the start.
impl<T> Call for Pin<Box<dyn Future<Output = T> + Send>> {}

pin_project! {
    /// A call of a service: made at once if the service is ready, or when it becomes ready.
    ///
    /// Begin it within [`pass_through`](crate::proof::pass_through) or [`Frame::call`](crate::proof::Frame::call): it passes
    /// on what the service [proves](crate::proof). If the service isn't ready, or fails to become ready, it proves that
    /// nothing was called.
    ///
    /// `W` holds the service and the request while they wait: in the call itself, or in a box for an [`EagerCall`].
    #[project = Step]
    #[must_use = "futures do nothing unless polled"]
    pub enum ServiceCall<S, Req, W = Waiting<S, Req>>
    where
        S: Service<Req>,
    {
        /// Waits for the service to be ready.
        #[doc(hidden)]
        Waiting { waiting: W },
        /// Waits for its answer.
        #[doc(hidden)]
        Called { #[pin] future: S::Future },
        /// Waits for its answer, whose proof can't be passed on. Rare, so it has its own variant.
        #[doc(hidden)]
        Unbelieved { #[pin] future: S::Future },
    }
}

/// A call that allocates only if the service isn't ready.
///
/// For layers that are always ready, and ask the service in their own `poll_ready`. Nearly always it is ready. Then this
/// holds only its future, and nothing is cloned.
pub type EagerCall<S, Req> = ServiceCall<S, Req, Box<Waiting<S, Req>>>;

/// A service that isn't ready yet, and the request for it.
#[derive(Debug)]
pub struct Waiting<S, Req> {
    service: S,
    // `None` once the service was called with it.
    request: Option<Req>,
    entered: Entered,
}

impl<S, Req, W> ServiceCall<S, Req, W>
where
    S: Service<Req>,
    W: From<Waiting<S, Req>>,
{
    /// Calls `service` if it is ready. If it isn't, this waits for it, and a clone takes its place.
    #[inline]
    pub fn begin(service: &mut S, readiness: Readiness, request: Req) -> Self
    where
        S: Clone,
    {
        match readiness {
            Readiness::Ready => Self::Called { future: service.call(request) },
            Readiness::NotReady => {
                let next = service.clone();
                Self::when_ready(mem::replace(service, next), request)
            }
        }
    }

    /// Makes `service` ready, then calls it.
    #[inline]
    pub fn when_ready(service: S, request: Req) -> Self {
        Self::when_ready_for(Entered::now(), service, request)
    }

    /// Makes `service` ready, then calls it. For a layer that was entered earlier.
    #[inline]
    pub fn when_ready_for(entered: Entered, service: S, request: Req) -> Self {
        Self::Waiting { waiting: Waiting { service, request: Some(request), entered }.into() }
    }
}

impl<S, Req, W> Future for ServiceCall<S, Req, W>
where
    S: Service<Req>,
    W: BorrowMut<Waiting<S, Req>>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let (future, believed) = match self.as_mut().project() {
                Step::Called { future } => return future.poll(cx),
                Step::Unbelieved { future } => {
                    let polled = future.poll(cx);
                    proof::withdraw();
                    return polled;
                }
                Step::Waiting { waiting } => {
                    let Waiting { service, request, entered } = waiting.borrow_mut();
                    entered.polled();
                    if let Err(error) = ready!(service.poll_ready(cx)) {
                        entered.prove();
                        return Poll::Ready(Err(error));
                    }
                    let Some(request) = request.take() else { polled_again("ServiceCall") };
                    entered.call(|| service.call(request))
                }
            };
            self.set(match believed {
                IsBelieved::Yes => Self::Called { future },
                IsBelieved::No => Self::Unbelieved { future },
            });
        }
    }
}

impl<S, Req, W> Call for ServiceCall<S, Req, W>
where
    S: Service<Req>,
    W: BorrowMut<Waiting<S, Req>>,
{
    fn progress(&self) -> Progress {
        match self {
            Self::Waiting { .. } => Progress::NotReady,
            Self::Called { .. } | Self::Unbelieved { .. } => Progress::Called,
        }
    }

    fn prove_not_called(&self) {
        if let Self::Waiting { waiting } = self {
            waiting.borrow().entered.prove();
        }
    }
}

impl<S, Req, W> fmt::Debug for ServiceCall<S, Req, W>
where
    S: Service<Req>,
    W: BorrowMut<Waiting<S, Req>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServiceCall").field(&self.progress()).finish()
    }
}
