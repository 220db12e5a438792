//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use backstop_kit::{ContextOf, Elapsed, Protocol, Reject};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    cover::{BodyLimit, Cover, Covered, sealed::Stage},
    upload::{LimitStart, Uploading},
};
use crate::{
    limited::Limited,
    settings::{Settings, reject},
};

pin_project! {
    /// The response future of [`Timeout`](crate::Timeout).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        P::Until: Cover<S::Response>,
    {
        #[pin]
        call: Limited<Covered<S::Future, P::Until, S::Response>>,
        // `None` once the call was rejected.
        context: Option<ContextOf<S, Req, P>>,
        began: BeganOf<S, Req, P>,
        // Set for a request with a body. Boxed, because most requests have none.
        uploading: Option<Box<Uploading>>,
        settings: Settings<P>,
    }
}

type BeganOf<S, Req, P> = <<P as Protocol>::Until as Stage<<S as Service<Req>>::Response>>::Began;

impl<S, Req, P> TimeoutFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Cover<S::Response>,
{
    #[inline]
    pub(crate) fn called(
        future: S::Future,
        scope: Scope,
        context: ContextOf<S, Req, P>,
        uploading: Option<Box<Uploading>>,
        settings: Settings<P>,
    ) -> Self {
        let call = Limited::called(Covered::Called { future }, scope);
        Self { call, context: Some(context), began: Default::default(), uploading, settings }
    }

    #[cold]
    pub(crate) fn refused(elapsed: Elapsed, context: ContextOf<S, Req, P>, settings: Settings<P>) -> Self {
        let call = Limited::refused(elapsed);
        Self { call, context: Some(context), began: Default::default(), uploading: None, settings }
    }
}

impl<S, Req, P> Future for TimeoutFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Cover<S::Response>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        // Changed in place: moving a response costs more than everything else here.
        let mut polled = this.call.as_mut().poll_call(cx);
        if let Poll::Ready(result) = &mut polled {
            if let (Err(_), Some(uploading)) = (&result, &this.uploading)
                && let Some(rejection) = uploading.failed_upload_rejection(&this.settings.name)
            {
                // The answer says that this is the caller's failure.
                return Poll::Ready(reject(this.settings.strategy.reject(), this.context, rejection, "TimeoutFuture"));
            }
            if let Ok(response) = result {
                let Settings { name, limit, .. } = this.settings;
                let (call, uploading) = (this.call, this.uploading);
                let limit = || {
                    let deadline = call.deadline();
                    let uploading = uploading.take_if(|uploading| uploading.limit_start == LimitStart::AfterUpload);
                    let is_limited = deadline.is_some() || uploading.is_some();
                    is_limited.then(|| BodyLimit { name, limit: *limit, deadline, uploading })
                };
                P::Until::limit_body(response, this.began, limit);
            }
            return polled;
        }
        P::Until::begin(this.began);
        let Some(uploading) = this.uploading else {
            let elapsed = ready!(this.call.poll_limit(cx));
            let rejection = this.settings.rejection(elapsed);
            return Poll::Ready(reject(this.settings.strategy.reject(), this.context, rejection, "TimeoutFuture"));
        };
        uploading.start();
        let rejection = match this.call.as_mut().poll_limit(cx) {
            Poll::Ready(elapsed) => {
                let too_slow = uploading.slow_upload_rejection(&this.settings.name, this.settings.limit, elapsed);
                too_slow.unwrap_or_else(|| this.settings.rejection(elapsed))
            }
            Poll::Pending if uploading.limit_start == LimitStart::AfterUpload => {
                ready!(uploading.poll_idle(this.settings.limit, cx));
                // The idle time doesn't include waits for the caller.
                this.settings.rejection(this.call.end())
            }
            Poll::Pending => return Poll::Pending,
        };
        Poll::Ready(reject(this.settings.strategy.reject(), this.context, rejection, "TimeoutFuture"))
    }
}

impl<S, Req, P> fmt::Debug for TimeoutFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Cover<S::Response>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(f.debug_struct("TimeoutFuture").field("call", &self.call)).finish_non_exhaustive()
    }
}
