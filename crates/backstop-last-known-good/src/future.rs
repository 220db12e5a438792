//! The response future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use backstop_kit::{WrapBody, polled_again};
use http::Response;
use pin_project_lite::pin_project;

use crate::{Store, body_copy::StoreTask, exchange::Exchange, layer_state::LayerState, quality::Quality};

pin_project! {
    /// The response future of [`LastKnownGood`](crate::LastKnownGood).
    ///
    /// # Cancellation
    /// Dropping it drops the call, and stores nothing.
    ///
    /// # Panics
    /// If it is polled again after it has ended.
    #[must_use = "futures do nothing unless polled"]
    pub struct LastKnownGoodFuture<F, St>
    where
        F: Future,
    {
        #[pin]
        inner: F,
        // `None` if the request can't affect the store.
        in_flight: Option<InFlight<St>>,
        // The response, while it waits for the store. Boxed, since few responses wait.
        storing: Option<Box<(StoreTask, F::Output)>>,
    }
}

struct InFlight<St> {
    exchange: Exchange,
    /// Reports in this scope show whether the answer is degraded.
    scope: Scope,
    shared: Arc<LayerState<St>>,
}

impl<F: Future, St> LastKnownGoodFuture<F, St> {
    pub(crate) fn bypass(inner: F) -> Self {
        Self { inner, in_flight: None, storing: None }
    }

    pub(crate) fn observe(call: impl FnOnce() -> F, exchange: Exchange, shared: Arc<LayerState<St>>) -> Self {
        let mut scope = Scope::new();
        let inner = scope.enter(call);
        Self { inner, in_flight: Some(InFlight { exchange, scope, shared }), storing: None }
    }
}

impl<F, St, B, E> Future for LastKnownGoodFuture<F, St>
where
    F: Future<Output = Result<Response<B>, E>>,
    St: Store,
    B: WrapBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        if this.storing.is_none() {
            let Some(in_flight) = this.in_flight else {
                return this.inner.poll(cx);
            };
            let mut result = ready!(in_flight.scope.enter(|| this.inner.poll(cx)));
            let Some(InFlight { exchange, mut scope, shared }) = this.in_flight.take() else {
                return Poll::Ready(result);
            };
            let quality = Quality::reported_in(&mut scope);
            let task = result.as_mut().ok().and_then(|response| exchange.on_response(response, quality, scope, shared));
            match task {
                Some(task) => *this.storing = Some(Box::new((task, result))),
                None => return Poll::Ready(result),
            }
        }
        if let Some(storing) = this.storing {
            ready!(storing.0.as_mut().poll(cx));
        }
        match this.storing.take() {
            Some(finished) => Poll::Ready(finished.1),
            None => polled_again("LastKnownGoodFuture"),
        }
    }
}

impl<F: Future + fmt::Debug, St> fmt::Debug for LastKnownGoodFuture<F, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exchange = self.in_flight.as_ref().map(|in_flight| &in_flight.exchange);
        f.debug_struct("LastKnownGoodFuture")
            .field("inner", &self.inner)
            .field("exchange", &exchange)
            .finish_non_exhaustive()
    }
}
