//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{EagerCall, Elapsed, Reject, Scope};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::Shared;
use crate::{limited::Limited, telemetry};

pin_project! {
    /// The response future of [`DeadlineService`](crate::DeadlineService).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct DeadlineFuture<S, Req, J>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        call: Limited<EagerCall<S, Req>>,
        // `None` once it was given to the strategy.
        context: Option<J::Context>,
        shared: Arc<Shared<J>>,
    }
}

impl<S, Req, J> DeadlineFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) const fn called(
        call: EagerCall<S, Req>,
        scope: Scope,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        Self { call: Limited::called(call, scope), context: Some(context), shared }
    }

    pub(crate) const fn refused(elapsed: Elapsed, context: J::Context, shared: Arc<Shared<J>>) -> Self {
        Self { call: Limited::refused(elapsed), context: Some(context), shared }
    }
}

impl<S, Req, J> Future for DeadlineFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
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
        let Some(context) = this.context.take() else {
            return Poll::Pending;
        };
        let Shared { name, limit, reject, .. } = &**this.shared;
        Poll::Ready(reject.reject(context, telemetry::rejection(name, Some(*limit), elapsed)))
    }
}

impl<S, Req, J> fmt::Debug for DeadlineFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("DeadlineFuture").field("call", &self.call))
    }
}
