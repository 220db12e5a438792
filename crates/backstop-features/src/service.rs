//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::ErrorRef;
use backstop_kit::{Http, Judge, JudgeRequest, Protocol, Reject, RequestFacts, proof::PassThrough};
use tower_service::Service;

use crate::{FeatureFuture, FeatureState, counted_call::CountedCall, layer::LayerState};

/// The service that [`FeatureLayer`](crate::FeatureLayer) makes.
pub struct FeatureService<S, P = Http> {
    inner: S,
    /// What was decided in `poll_ready`, if the feature wasn't on for everyone. If it was off, the inner service wasn't polled, so
    /// the next call must be refused, even if the feature has been enabled since. If the call is let through, that is kept
    /// until the inner service is ready and called, unless nothing is let through any more. Everyone else is refused at once.
    decided: Option<FeatureState>,
    state: Arc<LayerState<P>>,
}

impl<S, P> FeatureService<S, P> {
    pub(crate) const fn new(inner: S, state: Arc<LayerState<P>>) -> Self {
        Self { inner, decided: None, state }
    }

    backstop_kit::define_inner_service_accessors!();

    /// What was decided, if it still holds. If an operator has turned the feature off since, no call is let through.
    fn still_decided(&self) -> Option<FeatureState> {
        self.decided.filter(|state| *state != FeatureState::Enabled || self.state.gate.slot().lets_some_through())
    }
}

impl<S, P, Req> Service<Req> for FeatureService<S, P>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: JudgeRequest<Req> + Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = FeatureFuture<S, Req, P>;

    /// Ready at once if the feature is off.
    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        let gate = &self.state.gate;
        if self.still_decided() != Some(FeatureState::Enabled) {
            self.decided = if gate.slot().is_on() { None } else { Some(gate.state_in_layer()) };
        }
        if self.decided.is_some_and(|state| state != FeatureState::Enabled) {
            return Poll::Ready(Ok(()));
        }
        let ready = self.inner.poll_ready(cx);
        if let Poll::Ready(Err(error)) = &ready {
            gate.record(&self.state.protocol.judge().outcome(RequestFacts::none(), Err(ErrorRef::new(error))));
        }
        ready
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut call = CountedCall::new(Arc::clone(&self.state));
        let state = self.still_decided().unwrap_or_else(|| self.state.gate.state_in_layer());
        self.decided = None;
        if state != FeatureState::Enabled {
            return FeatureFuture::refused(call, state, &request);
        }
        let facts = call.inspect_request(&mut request);
        call.enter();
        let future = {
            let _pass = PassThrough::begin();
            self.inner.call(request)
        };
        call.leave();
        FeatureFuture::called(future, call, facts)
    }
}

/// A clone asks for readiness itself.
impl<S: Clone, P> Clone for FeatureService<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.state))
    }
}

impl<S: fmt::Debug, P> fmt::Debug for FeatureService<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FeatureService")
            .field("inner", &self.inner)
            .field("feature", self.state.gate.name())
            .finish_non_exhaustive()
    }
}
