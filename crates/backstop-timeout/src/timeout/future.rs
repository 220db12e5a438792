//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Deadline, Progress, Reject, SetBy};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    cover::{BodyLimit, Cover, Covered, UntilHeaders},
    layer::Shared,
};
use crate::{limited::Limited, telemetry};

pin_project! {
    /// The response future of [`Timeout`](crate::Timeout).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<S, Req, J, O = UntilHeaders>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        O: Cover<S::Response>,
    {
        #[pin]
        call: Limited<Covered<S::Future, O, S::Response>>,
        // `None` once it was given to the strategy.
        context: Option<J::Context>,
        shared: Arc<Shared<J>>,
    }
}

impl<S, Req, J, O> TimeoutFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Cover<S::Response>,
{
    #[inline]
    pub(crate) fn called(
        deadline: Deadline,
        call: impl FnOnce() -> S::Future,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        let call = Limited::called(deadline, || Covered::Called { future: call() });
        Self { call, context: Some(context), shared }
    }

    pub(crate) const fn refused(
        set_by: SetBy,
        progress: Progress,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        Self { call: Limited::refused(set_by, progress), context: Some(context), shared }
    }
}

impl<S, Req, J, O> Future for TimeoutFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Cover<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Shared { name, limit, reject } = &**this.shared;
        let (set_by, progress) = match ready!(this.call.as_mut().poll(cx)) {
            Ok(result) => {
                return Poll::Ready(result.map(|response| match this.call.deadline() {
                    Some(deadline) => O::limit_body(response, BodyLimit { name, limit: *limit, deadline }),
                    None => response,
                }));
            }
            Err(time_is_up) => time_is_up,
        };
        let Some(context) = this.context.take() else {
            return Poll::Pending;
        };
        Poll::Ready(reject.reject(context, telemetry::rejection(name, Some(*limit), set_by, progress)))
    }
}

impl<S, Req, J, O> fmt::Debug for TimeoutFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Cover<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("TimeoutFuture").field("call", &self.call))
    }
}
