//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{
    SetBy,
    grpc::{self, GrpcCode},
};
use backstop_kit::{Elapsed, Progress, Reject, polled_again, proof::Entered};
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::propagation::Propagation;
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
    pub struct PropagateDeadlineFuture<S, Req, R>
    where
        S: Service<Req>,
        R: Reject<Req, S::Response, S::Error>,
    {
        #[pin]
        state: State<S::Future>,
        // `None` if there is nothing to reject, or once the call was rejected.
        rejects: Option<(R::Context, Arc<Propagation<R>>)>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F> {
        Called {
            #[pin]
            future: F,
            // When the receiver of the request gives up.
            limit: Option<ReceiverDeadline>,
        },
        Refused { set_by: SetBy, entered: Entered },
    }
}

impl<S, Req, R> PropagateDeadlineFuture<S, Req, R>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    /// A call whose receiver has no limit.
    pub(crate) const fn unlimited(future: S::Future) -> Self {
        Self { state: State::Called { future, limit: None }, rejects: None }
    }

    /// A call whose receiver has a limit.
    pub(crate) const fn limited(
        limit: ReceiverDeadline,
        future: S::Future,
        rejects: (R::Context, Arc<Propagation<R>>),
    ) -> Self {
        Self { state: State::Called { future, limit: Some(limit) }, rejects: Some(rejects) }
    }

    /// No call: too little time is left.
    pub(crate) fn refused(set_by: SetBy, rejects: (R::Context, Arc<Propagation<R>>)) -> Self {
        Self { state: State::Refused { set_by, entered: Entered::now() }, rejects: Some(rejects) }
    }
}

/// When the receiver of a request gives up, and who set that limit.
#[derive(Clone, Copy)]
pub(crate) struct ReceiverDeadline {
    pub(crate) at: Instant,
    pub(crate) set_by: SetBy,
    /// Whether the request says so.
    pub(crate) is_told: bool,
}

impl ReceiverDeadline {
    /// Whether a call ended because its time was up.
    ///
    /// An error after a limit that the client knows means that it gave up, as tonic's `Channel` does. A response that says so counts only
    /// if the caller set the limit: then it isn't the service's failure.
    fn ended<B, E>(&self, result: &Result<Response<B>, E>) -> bool {
        let gave_up = match result {
            Ok(response) => self.set_by == SetBy::Caller && says_too_late(response),
            Err(_) => self.set_by == SetBy::Caller || self.is_told,
        };
        gave_up && self.at <= Instant::now()
    }
}

fn says_too_late<B>(response: &Response<B>) -> bool {
    response.status() == StatusCode::GATEWAY_TIMEOUT
        || grpc::status_in_headers(response.headers()) == Some(GrpcCode::DEADLINE_EXCEEDED)
}

impl<S, Req, R, B> Future for PropagateDeadlineFuture<S, Req, R>
where
    S: Service<Req, Response = Response<B>>,
    R: Reject<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (set_by, refused) = match this.state.project() {
            StateProject::Called { future, limit } => {
                let polled = future.poll(cx);
                match (&polled, limit) {
                    (Poll::Ready(result), Some(limit)) if limit.ended(result) => (limit.set_by, None),
                    // Not moved, because moving a response costs more than everything else here.
                    _ => return polled,
                }
            }
            StateProject::Refused { set_by, entered } => (*set_by, Some(entered)),
        };
        let Some((context, propagation)) = this.rejects.take() else { polled_again("PropagateDeadlineFuture") };
        let progress = if refused.is_some() { Progress::NotAsked } else { Progress::Called };
        let rejection = telemetry::rejection(&propagation.name, None, Elapsed::new(set_by, progress));
        let answer = propagation.reject.reject(context, rejection);
        refused.inspect(|entered| entered.prove());
        Poll::Ready(answer)
    }
}

impl<S, Req, R> fmt::Debug for PropagateDeadlineFuture<S, Req, R>
where
    S: Service<Req>,
    R: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("PropagateDeadlineFuture");
        match &self.rejects {
            Some((_, propagation)) => propagation.debug(&mut f),
            None => f.finish_non_exhaustive(),
        }
    }
}
