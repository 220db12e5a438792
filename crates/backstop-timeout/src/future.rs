//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Attempt, Call, Deadline, Progress, Reject, Rejection, RejectionKind, Scope, SetBy};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{layer::Shared, telemetry};

pin_project! {
    /// The response future of [`Timeout`](crate::Timeout).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    #[must_use = "futures do nothing unless polled"]
    pub struct TimeoutFuture<S, Req, J>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S::Future>,
        // `None` once it was given to the strategy.
        context: Option<J::Context>,
        shared: Arc<Shared<J>>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F> {
        Called { #[pin] attempt: Attempt<Called<F>> },
        Refused { set_by: SetBy, progress: Progress },
    }
}

impl<S, Req, J> TimeoutFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    pub(crate) fn called(
        deadline: Deadline,
        call: impl FnOnce() -> S::Future,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        let attempt = Attempt::start(Scope::narrowed(deadline), || Called { future: call() });
        Self { state: State::Called { attempt }, context: Some(context), shared }
    }

    pub(crate) fn refused(set_by: SetBy, progress: Progress, context: J::Context, shared: Arc<Shared<J>>) -> Self {
        Self { state: State::Refused { set_by, progress }, context: Some(context), shared }
    }
}

impl<S, Req, J> Future for TimeoutFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (set_by, progress) = match this.state.project() {
            StateProject::Called { mut attempt } => match ready!(attempt.as_mut().poll(cx)) {
                Ok(result) => {
                    attempt.commit();
                    return Poll::Ready(result);
                }
                Err(elapsed) => (elapsed.set_by, elapsed.progress),
            },
            StateProject::Refused { set_by, progress } => (*set_by, *progress),
        };
        let Some(context) = this.context.take() else {
            return Poll::Pending;
        };
        let Shared { name, limit, reject } = &**this.shared;
        telemetry::rejected(name, *limit, set_by, progress);
        let kind = RejectionKind::DeadlinePassed { set_by, progress };
        Poll::Ready(reject.reject(context, Rejection::new(name.clone(), kind)))
    }
}

impl<S, Req, J> fmt::Debug for TimeoutFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("TimeoutFuture");
        match &self.state {
            State::Called { attempt } => f.field("attempt", attempt),
            State::Refused { progress, .. } => f.field("refused", progress),
        };
        self.shared.debug(f)
    }
}

pin_project! {
    /// A call of a service that was ready. It holds neither service nor request, and needs nothing of them.
    struct Called<F> {
        #[pin]
        future: F,
    }
}

impl<F: Future> Future for Called<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

impl<F: Future> Call for Called<F> {}
