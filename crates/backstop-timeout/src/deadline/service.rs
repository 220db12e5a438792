//! The service.
//!
//! The limit is known only when the request arrives. The response future waits for the inner service, so that the limit
//! covers that wait:
//!
//! | the inner service is | `poll_ready` | `call` |
//! |---|---|---|
//! | ready | ready | calls it |
//! | not ready | ready | moves it into the future, which makes it ready and then calls it; a clone takes its place |
//! | failing | fails with the same error | |

use std::{
    fmt, mem,
    task::{Context, Poll},
};

use backstop_core::{Limit, Scope, scope};
use backstop_kit::{EagerCall, Elapsed, HttpReject, Progress, Readiness, Reject, proof::PassThrough};
use http::Request;
use tower_service::Service;

use super::{future::DeadlineFuture, layer_state::DeadlineState, trusted};

/// The service that [`DeadlineLayer`](crate::DeadlineLayer) makes.
pub struct DeadlineService<S, R = HttpReject> {
    inner: S,
    readiness: Readiness,
    settings: DeadlineState<R>,
}

impl<S, R> DeadlineService<S, R> {
    pub(crate) const fn new(inner: S, settings: DeadlineState<R>) -> Self {
        Self { inner, readiness: Readiness::NotReady, settings }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, R, B> Service<Request<B>> for DeadlineService<S, R>
where
    S: Service<Request<B>> + Clone,
    R: Reject<Request<B>, S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = DeadlineFuture<S, Request<B>, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let polled = self.inner.poll_ready(cx);
        self.readiness = Readiness::from(&polled);
        if let Poll::Ready(result) = polled {
            result?;
        }
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request<B>) -> Self::Future {
        let current = self.settings.current.load();
        let settings = self.settings.with_limit(current.limit);
        let context = settings.strategy.context(&request);
        if let Some(passed) = scope::passed() {
            return DeadlineFuture::refused(Elapsed::new(passed.set_by(), Progress::NotAsked), context, settings);
        }
        let (limit, set_by) = trusted::limit_of(&request, &current, &settings.name);
        drop(current);
        if limit.is_zero() {
            return DeadlineFuture::refused(Elapsed::new(set_by, Progress::NotAsked), context, settings);
        }
        let readiness = mem::take(&mut self.readiness);
        let mut scope = Scope::limited(Limit::new(limit, set_by));
        let call = {
            let _guards = (PassThrough::begin(), scope.entered());
            EagerCall::begin(&mut self.inner, readiness, request)
        };
        DeadlineFuture::called(call, scope, context, settings)
    }
}

/// A clone isn't ready.
impl<S: Clone, R: Clone> Clone for DeadlineService<S, R> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.settings.clone())
    }
}

impl<S: fmt::Debug, R> fmt::Debug for DeadlineService<S, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.debug(f.debug_struct("DeadlineService").field("inner", &self.inner))
    }
}
