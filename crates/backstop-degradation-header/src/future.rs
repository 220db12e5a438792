//! The response future.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
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
    #[inline]
    pub(crate) const fn new(inner: F, scope: Scope, state: Arc<LayerState>) -> Self {
        Self { inner, scope, state }
    }
}

impl<F, B, E> Future for DegradationHeaderFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        // Changed in place: moving a response costs more than everything else here.
        let mut polled = this.scope.enter_as_reader(|| this.inner.poll(cx));
        if let Poll::Ready(result) = &mut polled {
            let reports = this.scope.take_reports();
            if !reports.is_empty() {
                // Outer layers need the reports too, even if this response doesn't reach them.
                scope::pass_on(reports.clone());
            }
            if let Ok(response) = result {
                write::label(this.state, reports, response);
            }
        }
        polled
    }
}
