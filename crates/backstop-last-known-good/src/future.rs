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

use crate::{
    Store,
    layer::Shared,
    quality::Quality,
    watch::{Task, Watch},
};

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
        // `None` for a request that has nothing to do with what is stored.
        watching: Option<Watching<St>>,
        // The store is still at work before the answer may be given. Boxed, so that what needs no such work carries no room
        // for it.
        finishing: Option<Box<(Task, F::Output)>>,
    }
}

struct Watching<St> {
    watch: Watch,
    /// What is reported while the answer is made tells whether it is a good one.
    scope: Scope,
    shared: Arc<Shared<St>>,
}

impl<F: Future, St> LastKnownGoodFuture<F, St> {
    pub(crate) fn unwatched(inner: F) -> Self {
        Self { inner, watching: None, finishing: None }
    }

    pub(crate) fn watched(call: impl FnOnce() -> F, watch: Watch, shared: Arc<Shared<St>>) -> Self {
        let mut scope = Scope::new();
        let inner = scope.enter(call);
        Self { inner, watching: Some(Watching { watch, scope, shared }), finishing: None }
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
        if this.finishing.is_none() {
            let Some(watching) = this.watching else {
                return this.inner.poll(cx);
            };
            let mut result = ready!(watching.scope.enter(|| this.inner.poll(cx)));
            let Some(Watching { watch, mut scope, shared }) = this.watching.take() else {
                return Poll::Ready(result);
            };
            let quality = Quality::reported_in(&mut scope);
            let task = result.as_mut().ok().and_then(|response| watch.answered(response, quality, scope, shared));
            match task {
                Some(task) => *this.finishing = Some(Box::new((task, result))),
                None => return Poll::Ready(result),
            }
        }
        if let Some(finishing) = this.finishing {
            ready!(finishing.0.as_mut().poll(cx));
        }
        match this.finishing.take() {
            Some(finished) => Poll::Ready(finished.1),
            None => polled_again("LastKnownGoodFuture"),
        }
    }
}

impl<F: Future + fmt::Debug, St> fmt::Debug for LastKnownGoodFuture<F, St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let watch = self.watching.as_ref().map(|watching| &watching.watch);
        f.debug_struct("LastKnownGoodFuture").field("inner", &self.inner).field("watch", &watch).finish_non_exhaustive()
    }
}
