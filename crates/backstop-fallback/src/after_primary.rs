//! After the primary has failed: asks the chain's providers, and meanwhile keeps the primary's failed answer.

use std::{
    borrow::Cow,
    mem,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Degradation, ErrorRef, scope};
use backstop_kit::{ContextOf, CopyRequest, Judge, KeepAnswer, Protocol, Reject, polled_again, proof::Frame};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use crate::{
    AllProvidersFailed,
    layer_state::LayerStateOf,
    miss::ProviderMiss,
    request_state::{PrimaryFailure, RequestState, copied},
    walk::Walk,
};

pin_project! {
    /// A request after the primary has failed.
    pub(crate) struct AfterPrimary<S, Req, P>
    where
        S: Service<Req>,
        P: Protocol,
        P::Reject: Reject<Req, S::Response, S::Error>,
        P::Copy: CopyRequest<Req>,
        P::Keep: KeepAnswer<S::Response>,
    {
        layer: LayerStateOf<S, Req, P>,
        // Taken when no provider is left.
        walk: Option<Walk<Req, S::Response>>,
        failed: Option<AllProvidersFailed>,
        frame: Frame,
        kept: Option<<P::Copy as CopyRequest<Req>>::Kept>,
        // Taken when the rejection is made.
        context: Option<ContextOf<S, Req, P>>,
        #[pin]
        last_resort: LastResort<<P::Keep as KeepAnswer<S::Response>>::Keeping, S::Response, S::Error>,
        // Reported during the primary's call.
        reports: Vec<Degradation>,
    }
}

pin_project! {
    /// The primary's result.
    #[project = LastResortProj]
    enum LastResort<F, Res, E> {
        Keeping { #[pin] keeping: F },
        Kept { result: Option<Result<Res, E>> },
    }
}

impl<S, Req, P> AfterPrimary<S, Req, P>
where
    S: Service<Req>,
    S::Error: 'static,
    P: Protocol,
    P::Judge: Judge<S::Response>,
    P::Reject: Reject<Req, S::Response, S::Error>,
    P::Copy: CopyRequest<Req>,
    P::Keep: KeepAnswer<S::Response>,
{
    pub(crate) fn new(
        request_state: RequestState<S, Req, P>,
        failure: PrimaryFailure<S, Req>,
        reports: Vec<Degradation>,
    ) -> Self {
        let RequestState { layer, settings, started, facts, frame, kept, context, .. } = request_state;
        let started = started.unwrap_or_else(Instant::now);
        let chain = layer.chain.shared();
        let mut walk = Walk::new(Arc::clone(chain), settings, started, facts);
        let error = match &failure.result {
            Some(Ok(answer)) => layer.protocol.judge().error(answer),
            Some(Err(error)) => Some(ErrorRef::new(error)),
            None => None,
        };
        let error = error.and_then(|error| chain.error_text.of(error)).map(Cow::Owned).or(failure.error);
        walk.record_sent(&failure.miss.outcome);
        walk.record_failure(layer.primary.clone(), ProviderMiss { miss: failure.miss, error });
        let last_resort = match failure.result {
            // Kept until the providers' time is up, because the last one may fail at once.
            Some(Ok(response)) => {
                LastResort::Keeping { keeping: layer.protocol.keep().keep(response, walk.limit().instant()) }
            }
            other => LastResort::Kept { result: other },
        };
        Self { layer, walk: Some(walk), failed: None, frame, kept, context: Some(context), last_resort, reports }
    }

    pub(crate) fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<S::Response, S::Error>> {
        let mut this = self.project();
        let layer = this.layer;
        // Polled while the providers run, so that they don't wait for it, and before them, so that its connection is free.
        let keeping = this.last_resort.as_mut().poll(cx);
        if let Some(walk) = this.walk {
            let (frame, kept) = (&mut *this.frame, this.kept);
            let judge = layer.protocol.judge();
            let found = ready!(walk.poll(cx, judge, frame, |copy| copied(kept, copy)));
            if let Some(found) = found {
                return Poll::Ready(Ok(layer.labelled(found)));
            }
            *this.failed = this.walk.take().map(Walk::into_failed);
        }
        // The primary's answer says nothing of what the provider that ended the chain may have done.
        let is_ended = this.failed.as_ref().is_some_and(AllProvidersFailed::ends_chain);
        if !is_ended {
            ready!(keeping);
        }
        if let Some(result) = this.last_resort.take().filter(|_| !is_ended) {
            // No rejection is needed any more.
            *this.context = None;
            scope::pass_on(mem::take(this.reports));
            this.frame.pass_on();
            return Poll::Ready(result);
        }
        let (Some(failed), Some(context)) = (this.failed.take(), this.context.take()) else {
            polled_again("FallbackFuture")
        };
        let answer = layer.protocol.reject().reject(context, failed.into());
        this.frame.pass_on();
        Poll::Ready(answer)
    }
}

impl<F: Future<Output = Option<Res>>, Res, E> LastResort<F, Res, E> {
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if let LastResortProj::Keeping { keeping } = self.as_mut().project() {
            let kept = ready!(keeping.poll(cx));
            self.set(Self::Kept { result: kept.map(Ok) });
        }
        Poll::Ready(())
    }

    fn take(self: Pin<&mut Self>) -> Option<Result<Res, E>> {
        match self.project() {
            LastResortProj::Keeping { .. } => None,
            LastResortProj::Kept { result } => result.take(),
        }
    }
}
