//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{
    Elapsed, Progress, Reject, SetBy,
    grpc::{self, GrpcCode},
    polled_again,
    proof::Entered,
};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::layer::Shared;
use crate::telemetry;

pin_project! {
    /// The response future of [`PropagateDeadline`](crate::PropagateDeadline).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct PropagateDeadlineFuture<S, Req, J>
    where
        S: Service<Req>,
        J: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S::Future>,
        // `None` where there is nothing to reject, or once that was done.
        rejects: Option<(J::Context, Arc<Shared<J>>)>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            // When the other service gives up, where that is the caller's doing.
            callers_limit: Option<Instant>,
        },
        Refused { set_by: SetBy, entered: Entered },
    }
}

impl<S, Req, J> PropagateDeadlineFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    /// A call without a deadline.
    pub(crate) const fn unlimited(future: S::Future) -> Self {
        Self { state: State::Called { future, callers_limit: None }, rejects: None }
    }

    /// A call whose receiver was told how long it has. Where that is the caller's doing, it gives up at `callers_limit`.
    pub(crate) const fn told(
        callers_limit: Option<Instant>,
        future: S::Future,
        context: J::Context,
        shared: Arc<Shared<J>>,
    ) -> Self {
        Self { state: State::Called { future, callers_limit }, rejects: Some((context, shared)) }
    }

    /// No call: too little is left for it.
    pub(crate) fn refused(set_by: SetBy, context: J::Context, shared: Arc<Shared<J>>) -> Self {
        Self { state: State::Refused { set_by, entered: Entered::now() }, rejects: Some((context, shared)) }
    }
}

impl<S, Req, J, B> Future for PropagateDeadlineFuture<S, Req, J>
where
    S: Service<Req, Response = Response<B>>,
    J: Reject<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (set_by, refused) = match this.state.project() {
            StateProject::Called { future, callers_limit } => {
                let result = ready!(future.poll(cx));
                match callers_limit {
                    // The service, or the client, gave up because it was told to: a failure of neither.
                    Some(limit) if gave_up(&result) && *limit <= Instant::now() => (SetBy::Caller, None),
                    _ => return Poll::Ready(result),
                }
            }
            StateProject::Refused { set_by, entered } => (*set_by, Some(entered)),
        };
        let Some((context, shared)) = this.rejects.take() else { polled_again("PropagateDeadlineFuture") };
        let progress = if refused.is_some() { Progress::NotAsked } else { Progress::Called };
        let rejection = telemetry::rejection(&shared.name, None, Elapsed::new(set_by, progress));
        let answer = shared.reject.reject(context, rejection);
        refused.inspect(|entered| entered.prove());
        Poll::Ready(answer)
    }
}

/// Whether a call ended as one does whose time is up: with an error, or with an answer that says so.
fn gave_up<B, E>(result: &Result<Response<B>, E>) -> bool {
    result.as_ref().map_or(true, |response| {
        response.status() == StatusCode::GATEWAY_TIMEOUT
            || grpc::status_in_headers(response.headers()) == Some(GrpcCode::DEADLINE_EXCEEDED)
    })
}

impl<S, Req, J> fmt::Debug for PropagateDeadlineFuture<S, Req, J>
where
    S: Service<Req>,
    J: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("PropagateDeadlineFuture");
        match &self.rejects {
            Some((_, shared)) => shared.debug(&mut f),
            None => f.finish_non_exhaustive(),
        }
    }
}
