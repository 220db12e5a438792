//! A call that is begun at once where the service is ready.

use std::{
    fmt, mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Call, Progress, polled_again,
    proof::{self, Entered, IsBelieved},
};

pin_project! {
    /// A call of a service: begun at once where that is ready, else when it is.
    ///
    /// For layers that are always ready themselves, and look in their own `poll_ready` whether the service is. Nearly
    /// always it is: then its future is all that this holds, and nothing is cloned.
    ///
    /// It passes on what the service [proves](crate::proof), to the layer in whose call it was made; begin it within
    /// [`pass_through`](crate::proof::pass_through) or [`Frame::call`](crate::proof::Frame::call). While the service isn't
    /// ready, or if it fails to be, nothing was called.
    #[project = Step]
    #[must_use = "futures do nothing unless polled"]
    pub enum EagerCall<S, Req>
    where
        S: Service<Req>,
    {
        /// Waits for the service to be ready.
        // Boxed, so that a call of a service that is ready carries no room for it. `None` once it was called.
        #[doc(hidden)]
        Waiting { waiting: Option<Box<(S, Req, Entered)>> },
        /// Waits for its answer.
        #[doc(hidden)]
        Called { #[pin] future: S::Future },
        /// The same, if what that proves can't be passed on. Apart, since it is rare.
        #[doc(hidden)]
        Unbelieved { #[pin] future: S::Future },
    }
}

impl<S: Service<Req>, Req> EagerCall<S, Req> {
    /// Calls `service` where it `is_ready`. Where it isn't, that one is waited for, and a clone takes its place.
    #[inline]
    pub fn begin(service: &mut S, is_ready: bool, request: Req) -> Self
    where
        S: Clone,
    {
        if is_ready {
            return Self::Called { future: service.call(request) };
        }
        let next = service.clone();
        Self::when_ready(mem::replace(service, next), request)
    }

    /// Makes `service` ready, then calls it.
    pub fn when_ready(service: S, request: Req) -> Self {
        Self::Waiting { waiting: Some(Box::new((service, request, Entered::now()))) }
    }
}

impl<S: Service<Req>, Req> Future for EagerCall<S, Req> {
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
                    if let Some(waiting) = waiting {
                        waiting.2.polled();
                        if let Err(error) = ready!(waiting.0.poll_ready(cx)) {
                            waiting.2.prove();
                            return Poll::Ready(Err(error));
                        }
                    }
                    let Some((mut service, request, entered)) = waiting.take().map(|waiting| *waiting) else {
                        polled_again("EagerCall")
                    };
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

impl<S: Service<Req>, Req> Call for EagerCall<S, Req> {
    fn progress(&self) -> Progress {
        match self {
            Self::Waiting { .. } => Progress::NotReady,
            Self::Called { .. } | Self::Unbelieved { .. } => Progress::Called,
        }
    }

    fn prove_not_called(&self) {
        if let Self::Waiting { waiting: Some(waiting) } = self {
            waiting.2.prove();
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for EagerCall<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EagerCall").field(&self.progress()).finish()
    }
}
