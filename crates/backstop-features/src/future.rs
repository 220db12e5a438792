//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{ErrorRef, Rejection};
use backstop_kit::{ContextOf, Judge, Protocol, Reject, RequestFacts, polled_again, proof::Entered};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{FEATURE_DISABLED, FeatureState, counted_call::CountedCall, layer::LayerState, metrics, telemetry};

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
        #[pin]
        inner: State<S::Future, ContextOf<S, Req, P>, P>,
    }
}

pin_project! {
    #[project = StateProject]
    enum State<F, X, P> {
        Called { #[pin] future: F, call: CountedCall<P>, facts: RequestFacts },
        // The context is `None` once it was given to the strategy.
        Refused { state: FeatureState, context: Option<X>, layer: Arc<LayerState<P>>, entered: Entered },
    }
}

impl<S, Req, P> FeatureFuture<S, Req, P>
where
    S: Service<Req>,
    P: Protocol,
    P::Reject: Reject<Req, S::Response, S::Error>,
{
    #[inline]
    pub(crate) const fn called(future: S::Future, call: CountedCall<P>, facts: RequestFacts) -> Self {
        Self { inner: State::Called { future, call, facts } }
    }

    #[cold]
    pub(crate) fn refused(
        state: FeatureState,
        context: ContextOf<S, Req, P>,
        layer: Arc<LayerState<P>>,
        entered: Entered,
    ) -> Self {
        Self { inner: State::Refused { state, context: Some(context), layer, entered } }
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
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().inner.project() {
            StateProject::Called { future, call, facts } => {
                // Judged in place: moving a response costs more than everything else here.
                let mut polled = call.run(|| future.poll(cx));
                if let Poll::Ready(result) = &mut polled {
                    let result = result.as_mut().map_err(|error| ErrorRef::new(error));
                    let outcome = call.protocol().judge().outcome(*facts, result);
                    call.end(&outcome);
                }
                polled
            }
            StateProject::Refused { state, context, layer, entered } => {
                let Some(context) = context.take() else { polled_again("FeatureFuture") };
                let name = layer.gate.name();
                telemetry::refused(name, *state);
                metrics::refused(name);
                let reason = state.refusal().unwrap_or(FEATURE_DISABLED);
                let answer = layer.protocol.reject().reject(context, Rejection::refused(name.clone(), reason));
                entered.prove();
                Poll::Ready(answer)
            }
        }
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
        match &self.inner {
            State::Called { call, .. } => f.field("call", call),
            State::Refused { state, .. } => f.field("refused", state),
        };
        f.finish_non_exhaustive()
    }
}
