//! The response future.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use backstop_core::{Scope, scope};
use http::Response;
use pin_project_lite::pin_project;

use crate::{layer_state::LayerState, write};

pin_project! {
    /// The response future of [`DegradationHeader`](crate::DegradationHeader).
    ///
    /// # Cancellation
    /// Dropping it drops the call and its reports.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct DegradationHeaderFuture<F> {
        #[pin]
        inner: F,
        scope: Scope,
        state: Arc<LayerState>,
    }
}

impl<F> DegradationHeaderFuture<F> {
    pub(crate) fn new(call: impl FnOnce() -> F, state: Arc<LayerState>) -> Self {
        let mut scope = Scope::new();
        Self { inner: scope.enter_as_reader(call), scope, state }
    }
}

impl<F, B, E> Future for DegradationHeaderFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.scope.enter_as_reader(|| this.inner.poll(cx)));
        let reports = this.scope.take_reports();
        // Outer layers need the reports too, even if this response doesn't reach them.
        scope::pass_on(reports.clone());
        if let Ok(response) = &mut result {
            write::label(&this.state.settings.load(), &this.state.public_names, reports, response);
        }
        Poll::Ready(result)
    }
}
