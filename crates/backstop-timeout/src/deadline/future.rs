//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Deadline, EagerCall, Progress, Reject, SetBy};
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
    pub(crate) fn called(
        deadline: Deadline,
        call: impl FnOnce() -> EagerCall<S, Req>,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        Self { call: Limited::called(deadline, call), context: Some(context), shared }
    }

    pub(crate) const fn refused(set_by: SetBy, context: J::Context, shared: Arc<Shared<J>>) -> Self {
        Self { call: Limited::refused(set_by, Progress::NotAsked), context: Some(context), shared }
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
        let this = self.project();
        let (set_by, progress) = match ready!(this.call.poll(cx)) {
            Ok(result) => return Poll::Ready(result),
            Err(time_is_up) => time_is_up,
        };
        let Some(context) = this.context.take() else {
            return Poll::Pending;
        };
        let Shared { name, limit, reject, .. } = &**this.shared;
        Poll::Ready(reject.reject(context, telemetry::rejection(name, Some(*limit), set_by, progress)))
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
