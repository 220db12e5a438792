//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use backstop_kit::{EagerCall, Elapsed, Reject};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    limited::Limited,
    settings::{Settings, reject},
};

pin_project! {
    /// The response future of [`DeadlineService`](crate::DeadlineService).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineFuture<S, Req, R>
    where
        S: Service<Req>,
        R: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        call: Limited<EagerCall<S, Req>>,
        // `None` once the call was rejected.
        context: Option<R::Context>,
        settings: Settings<R>,
    }
}

impl<S, Req, R> DeadlineFuture<S, Req, R>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) const fn called(
        call: EagerCall<S, Req>,
        scope: Scope,
        context: R::Context,
        settings: Settings<R>,
    ) -> Self {
        Self { call: Limited::called(call, scope), context: Some(context), settings }
    }

    pub(crate) fn refused(elapsed: Elapsed, context: R::Context, settings: Settings<R>) -> Self {
        Self { call: Limited::refused(elapsed), context: Some(context), settings }
    }
}

impl<S, Req, R> Future for DeadlineFuture<S, Req, R>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let polled = this.call.as_mut().poll_call(cx);
        if polled.is_ready() {
            return polled;
        }
        let elapsed = ready!(this.call.poll_limit(cx));
        let rejection = this.settings.rejection(elapsed);
        Poll::Ready(reject(&this.settings.strategy, this.context, rejection, "DeadlineFuture"))
    }
}

impl<S, Req, R> fmt::Debug for DeadlineFuture<S, Req, R>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(f.debug_struct("DeadlineFuture").field("call", &self.call)).finish_non_exhaustive()
    }
}
