//! A call of a service that may have to be made ready first.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Call, Progress};
use pin_project_lite::pin_project;
use tower_service::Service;

pin_project! {
    #[project = Step]
    pub(crate) enum ReadiedCall<S, Req>
    where
        S: Service<Req>,
    {
        // Boxed, so that a call of a service that is ready carries no room for it. `None` once it was called.
        Waiting { waiting: Option<Box<(S, Req)>> },
        Called { #[pin] future: S::Future },
    }
}

impl<S: Service<Req>, Req> ReadiedCall<S, Req> {
    /// A service that was ready has been called.
    #[inline]
    pub(crate) const fn called(future: S::Future) -> Self {
        Self::Called { future }
    }

    /// Makes `service` ready, then calls it.
    pub(crate) fn when_ready(service: S, request: Req) -> Self {
        Self::Waiting { waiting: Some(Box::new((service, request))) }
    }
}

impl<S: Service<Req>, Req> Future for ReadiedCall<S, Req> {
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let future = match self.as_mut().project() {
                Step::Called { future } => return future.poll(cx),
                Step::Waiting { waiting } => {
                    if let Some(waiting) = waiting {
                        ready!(waiting.0.poll_ready(cx))?;
                    }
                    let Some((mut service, request)) = waiting.take().map(|waiting| *waiting) else {
                        return Poll::Pending;
                    };
                    service.call(request)
                }
            };
            self.set(Self::Called { future });
        }
    }
}

impl<S: Service<Req>, Req> Call for ReadiedCall<S, Req> {
    fn progress(&self) -> Progress {
        match self {
            Self::Waiting { .. } => Progress::NotReady,
            Self::Called { .. } => Progress::Called,
        }
    }
}

impl<S: Service<Req>, Req> fmt::Debug for ReadiedCall<S, Req> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadiedCall").field(&self.progress()).finish()
    }
}
