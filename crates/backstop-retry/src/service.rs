//! The service.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use backstop_core::{Limit, Scope, SetBy};
use backstop_kit::{
    CopyRequest, Http, Judge, JudgeRequest, Keep, KeepAnswer, NotCopied, Protocol,
    proof::{Frame, PassThrough},
};
use tower_service::Service;

use crate::{
    CountAttempts, RetryBudget, RetryFuture, StopReason,
    attempt_span::AttemptSpan,
    layer_state::LayerState,
    request_state::{KeptBy, ReplaySource, RequestState},
};

/// The service that [`RetryLayer`](crate::RetryLayer) makes.
pub struct Retry<S, P = Http> {
    inner: S,
    state: Arc<LayerState<P>>,
}

impl<S, P> Retry<S, P> {
    pub(crate) const fn new(inner: S, state: Arc<LayerState<P>>) -> Self {
        Self { inner, state }
    }

    backstop_kit::define_inner_service_accessors!();
}

impl<S, P, Req> Service<Req> for Retry<S, P>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    P: Protocol,
    P::Judge: JudgeRequest<Req> + Judge<S::Response>,
    P::Copy: CopyRequest<Req, Kept: CountAttempts<Req>>,
    P::Keep: KeepAnswer<S::Response>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = RetryFuture<S, Req, P>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let LayerState { retry, protocol } = &*self.state;
        retry.requests.increment();
        let snapshot = retry.live.snapshot();
        let settings = retry.live.at(&snapshot);
        let budget = &settings.budget;
        let copy = protocol.copy();
        if settings.max_attempts == 1 {
            let _pass = PassThrough::begin();
            return RetryFuture::passing(self.inner.call(request));
        }
        let mut facts = protocol.judge().facts(&request, copy.facts(&request));
        if facts.is_never_repeated() {
            let _pass = PassThrough::begin();
            return RetryFuture::passing(self.inner.call(request));
        }
        let stop =
            if settings.attempt_header.as_ref().is_some_and(|header| KeptBy::<P, Req>::is_retry(&request, header)) {
                Some(StopReason::OuterTier)
            } else if budget.as_ref().is_some_and(RetryBudget::is_empty) {
                Some(StopReason::Budget)
            } else {
                None
            };
        let keep = if stop.is_some() { Keep::Nothing } else { Keep::Whole };
        let replay = match copy.keep(&mut request, &mut facts, keep) {
            // The service that was ready is called now; later attempts make the clone ready.
            Some(kept) => Ok(ReplaySource { service: self.inner.clone(), kept }),
            None if facts.is_upgrade() => Err(StopReason::Upgrade),
            None => Err(stop.unwrap_or(StopReason::NotReplayable(NotCopied::HeadOnly))),
        };
        if matches!(replay, Ok(_) | Err(StopReason::Budget)) {
            budget.as_ref().inspect(|budget| budget.deposit());
        }
        let mut scope = Scope::limited(Limit::new(settings.total, SetBy::Us));
        let mut frame = Frame::open();
        let span = AttemptSpan::open(retry.live.name(), 1, None);
        let future = {
            let _in_span = span.enter();
            let _entered = scope.entered();
            let _calling = frame.calling();
            self.inner.call(request)
        };
        let layer = Arc::clone(&self.state);
        RetryFuture::first(future, scope, frame, span, RequestState { layer, settings: snapshot, facts, replay })
    }
}

impl<S: Clone, P> Clone for Retry<S, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), Arc::clone(&self.state))
    }
}

impl<S: fmt::Debug, P> fmt::Debug for Retry<S, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Retry");
        f.field("inner", &self.inner);
        self.state.retry.debug(f)
    }
}
