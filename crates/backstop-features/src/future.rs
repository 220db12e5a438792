//! The response future.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{ErrorRef, Rejection};
use backstop_kit::{ContextOf, Judge, Protocol, Reject, RequestFacts, polled_again, proof::Entered};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{FEATURE_DISABLED, FeatureState, counted_call::CountedCall, metrics, telemetry};

pin_project! {
    /// The response future of [`FeatureService`](crate::FeatureService).
    ///
    /// # Cancellation
    /// Dropping it drops the call, which counts as nothing unless one of our own time limits has ended it.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct FeatureFuture<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
    {
        // `None` if it is refused.
        #[pin]
        future: Option<S::Future>,
        call: CountedCall<P>,
        facts: RequestFacts,
        // `None` unless it is refused, and once it was.
        refused: Option<Refused<ContextOf<S, Req, P>>>,
    }
}

/// A call that isn't made.
struct Refused<X> {
    state: FeatureState,
    context: X,
    entered: Entered,
}

impl<S, Req, P> FeatureFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) const fn called(future: S::Future, call: CountedCall<P>, facts: RequestFacts) -> Self {
        Self { future: Some(future), call, facts, refused: None }
    }

    #[cold]
    pub(crate) fn refused(call: CountedCall<P>, state: FeatureState, request: &Req) -> Self {
        let context = call.protocol().reject().context(request);
        let refused = Some(Refused { state, context, entered: Entered::now() });
        Self { future: None, call, facts: RequestFacts::none(), refused }
    }

    #[cold]
    fn refuse(self: Pin<&mut Self>) -> Result<S::Response, S::Error> {
        let this = self.project();
        let Some(Refused { state, context, entered }) = this.refused.take() else { polled_again("FeatureFuture") };
        let name = this.call.feature();
        telemetry::refused(name, state);
        metrics::refused(name);
        let reason = state.refusal().unwrap_or(FEATURE_DISABLED);
        let answer = this.call.protocol().reject().reject(context, Rejection::refused(name.clone(), reason));
        entered.prove();
        answer
    }
}

impl<S, Req, P> Future for FeatureFuture<S, Req, P>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.as_mut().project();
        let Some(future) = this.future.as_pin_mut() else { return Poll::Ready(self.refuse()) };
        this.call.enter();
        // Judged in place: moving a response costs more than everything else here.
        let mut polled = {
            let _scope = this.call.enter_scope();
            future.poll(cx)
        };
        this.call.leave();
        if let Poll::Ready(result) = &mut polled {
            let result = result.as_mut().map_err(|error| ErrorRef::new(error));
            let outcome = this.call.protocol().judge().outcome(*this.facts, result);
            this.call.end(&outcome);
        }
        polled
    }
}

impl<S, Req, P> fmt::Debug for FeatureFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("FeatureFuture");
        f.field("feature", self.call.feature());
        if let Some(refused) = &self.refused {
            f.field("refused", &refused.state);
        }
        f.finish_non_exhaustive()
    }
}
