//! The response future.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Response;
use pin_project_lite::pin_project;

use super::upstream::Upstream;

pin_project! {
    /// The response future of [`PropagateDegradation`](crate::PropagateDegradation).
    ///
    /// # Cancellation
    /// Dropping it drops the call.
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct PropagateDegradationFuture<F> {
        #[pin]
        inner: F,
        upstream: Arc<Upstream>,
    }
}

impl<F> PropagateDegradationFuture<F> {
    pub(super) const fn new(inner: F, upstream: Arc<Upstream>) -> Self {
        Self { inner, upstream }
    }
}

impl<F, B, E> Future for PropagateDegradationFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let mut result = ready!(this.inner.poll(cx));
        if let Ok(response) = &mut result {
            this.upstream.report(response);
        }
        Poll::Ready(result)
    }
}
