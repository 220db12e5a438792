//! The service.

use std::{
    fmt,
    task::{Context, Poll},
};

use backstop_core::{Limit, Scope, SetBy, scope};
use backstop_kit::{Elapsed, JudgeRequest, Progress, Protocol, Reject, proof::PassThrough};
use tower_service::Service;

use super::{
    cover::Cover,
    future::TimeoutFuture,
    layer::HttpStrategies,
    layer_state::TimeoutState,
    ready_wait::ReadyWait,
    upload::{LimitStart, Uploading},
};

/// The service that [`TimeoutLayer`](crate::TimeoutLayer) makes.
pub struct Timeout<S, P = HttpStrategies> {
    inner: S,
    ready_wait: ReadyWait,
    settings: TimeoutState<P>,
}

impl<S, P> Timeout<S, P> {
    pub(crate) fn new(inner: S, settings: TimeoutState<P>) -> Self {
        Self { inner, ready_wait: ReadyWait::default(), settings }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, P, Req> Service<Req> for Timeout<S, P>
where
    S: Service<Req>,
    P: Protocol + Clone,
    P::Judge: JudgeRequest<Req>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Until: Cover<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = TimeoutFuture<S, Req, P>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        match self.inner.poll_ready(cx) {
            Poll::Ready(result) => {
                self.ready_wait.set_ready(&self.settings.limit);
                Poll::Ready(result)
            }
            Poll::Pending => self.ready_wait.poll_too_late(self.settings.limit.limit(), cx).map(Ok),
        }
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let (limit, limit_start) = self.settings.limit.get();
        let settings = self.settings.with_limit(limit);
        let context = settings.strategy.reject().context(&request);
        let left = match self.ready_wait.take(limit) {
            Ok(left) => left,
            Err(set_by) => return TimeoutFuture::refused(Elapsed::new(set_by, Progress::NotReady), context, settings),
        };
        if let Some(passed) = scope::passed() {
            return TimeoutFuture::refused(Elapsed::new(passed.set_by(), Progress::NotAsked), context, settings);
        }
        let upload = settings.strategy.judge().watch(&mut request);
        let uploading = upload.map(|upload| Uploading::boxed(upload, limit_start));
        let mut scope = match &uploading {
            // No limit yet, because inner layers would apply it to the upload.
            Some(uploading) if uploading.limit_start == LimitStart::AfterUpload => Scope::new(),
            _ => Scope::limited(Limit::new(left, SetBy::Us)),
        };
        let future = {
            let _guards = (PassThrough::begin(), scope.entered());
            self.inner.call(request)
        };
        TimeoutFuture::called(future, scope, context, uploading, settings)
    }
}

/// A clone isn't ready.
impl<S: Clone, P: Clone> Clone for Timeout<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.settings.clone())
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Timeout<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Timeout");
        self.settings.show(f.field("inner", &self.inner).field("ready_wait", &self.ready_wait)).finish_non_exhaustive()
    }
}
