//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use backstop_kit::{Elapsed, Reject, UntilHeaders};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    cover::{BodyLimit, Cover, Covered},
    upload::{Begins, Uploading},
};
use crate::{limited::Limited, settings::Settings};

pin_project! {
    /// The response future of [`Timeout`](crate::Timeout).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<S, Req, J, O = UntilHeaders>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
        O: Cover<S::Response>,
    {
        #[pin]
        call: Limited<Covered<S::Future, O, S::Response>>,
        // `None` once the call was rejected.
        context: Option<J::Context>,
        began: O::Began,
        // Set for a request with a body. Boxed, so that other requests carry no room for it.
        uploading: Option<Box<Uploading>>,
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
    pub(crate) fn called(
        future: S::Future,
        scope: Scope,
        context: J::Context,
        uploading: Option<Box<Uploading>>,
        settings: Settings<J>,
    ) -> Self {
        let call = Limited::called(Covered::Called { future }, scope);
        Self { call, context: Some(context), began: Default::default(), uploading, settings }
    }

    #[cold]
    pub(crate) fn refused(elapsed: Elapsed, context: J::Context, settings: Settings<J>) -> Self {
        let call = Limited::refused(elapsed);
        Self { call, context: Some(context), began: Default::default(), uploading: None, settings }
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
        // Changed in place: moving a response costs more than everything else here.
        let mut polled = this.call.as_mut().poll_call(cx);
        if let Poll::Ready(result) = &mut polled {
            if let (Err(_), Some(uploading)) = (&result, &this.uploading)
                && let Some(rejection) = uploading.failed(&this.settings.name)
            {
                // The caller's failure, not the service's: the answer says so.
                return Poll::Ready(this.settings.reject(this.context, rejection, "TimeoutFuture"));
            }
            if let Ok(response) = result {
                let Settings { name, limit, .. } = this.settings;
                let call = this.call;
                let limit = || call.deadline().map(|deadline| BodyLimit { name, limit: *limit, deadline });
                O::limit_body(response, this.began, limit);
            }
            return polled;
        }
        O::begin(this.began);
        let Some(uploading) = this.uploading else {
            let elapsed = ready!(this.call.poll_limit(cx));
            let rejection = this.settings.rejection(elapsed);
            return Poll::Ready(this.settings.reject(this.context, rejection, "TimeoutFuture"));
        };
        uploading.start();
        let rejection = match this.call.as_mut().poll_limit(cx) {
            Poll::Ready(elapsed) => {
                let too_slow = uploading.too_slow(&this.settings.name, this.settings.limit, elapsed);
                too_slow.unwrap_or_else(|| this.settings.rejection(elapsed))
            }
            Poll::Pending if uploading.begins == Begins::AfterUpload => {
                ready!(uploading.poll_idle(this.settings.limit, cx));
                // This time includes no wait for the caller.
                this.settings.rejection(this.call.end())
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(this.settings.reject(this.context, rejection, "TimeoutFuture"))
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
