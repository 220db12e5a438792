//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::{Elapsed, Reject, Scope};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::cover::{BodyLimit, Cover, Covered, UntilHeaders};
use crate::{limited::Limited, settings::Settings};

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
        began: O::Began,
        settings: Settings<J>,
    }
}

impl<S, Req, J, O> TimeoutFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Cover<S::Response>,
{
    #[inline]
    pub(crate) fn called(future: S::Future, scope: Scope, context: J::Context, settings: Settings<J>) -> Self {
        let call = Limited::called(Covered::Called { future }, scope);
        Self { call, context: Some(context), began: Default::default(), settings }
    }

    pub(crate) fn refused(elapsed: Elapsed, context: J::Context, settings: Settings<J>) -> Self {
        Self { call: Limited::refused(elapsed), context: Some(context), began: Default::default(), settings }
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
        // Changed where it is: moving a response costs more than all the rest.
        let mut polled = this.call.as_mut().poll_call(cx);
        if let Poll::Ready(result) = &mut polled {
            if let Ok(response) = result {
                let Settings { name, limit, .. } = this.settings;
                let call = this.call;
                let limit = || call.deadline().map(|deadline| BodyLimit { name, limit: *limit, deadline, began: None });
                O::limit_body(response, this.began, limit);
            }
            return polled;
        }
        O::begin(this.began);
        let elapsed = ready!(this.call.poll_limit(cx));
        let Some(context) = this.context.take() else {
            return Poll::Pending;
        };
        Poll::Ready(this.settings.reject.reject(context, this.settings.rejection(elapsed)))
    }
}

impl<S, Req, J, O> fmt::Debug for TimeoutFuture<S, Req, J, O>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
    O: Cover<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(f.debug_struct("TimeoutFuture").field("call", &self.call)).finish_non_exhaustive()
    }
}
