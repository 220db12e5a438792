//! A call whose value is remembered.

use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use pin_project_lite::pin_project;

use super::{Begun, Known, LastKnownValues};
use crate::{quality::Quality, telemetry};

pin_project! {
    /// The future of [`LastKnownValues::keep`].
    ///
    /// # Cancellation
    /// Dropping it drops the call, and remembers nothing.
    #[must_use = "futures do nothing unless polled"]
    pub struct KeepValue<K, V, F> {
        #[pin]
        call: F,
        // Of its own, to see what the call reports.
        scope: Scope,
        // `None` once the call has ended.
        key: Option<K>,
        begun: Begun,
        values: LastKnownValues<K, V>,
    }
}

impl<K, V, F> KeepValue<K, V, F> {
    pub(super) fn new(values: LastKnownValues<K, V>, key: K, call: F) -> Self {
        Self { call, scope: Scope::new(), key: Some(key), begun: values.inner.begin(), values }
    }
}

impl<K, V, E, F> Future for KeepValue<K, V, F>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
    F: Future<Output = Result<V, E>>,
{
    type Output = Result<V, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.scope.enter(|| this.call.poll(cx)));
        let quality = Quality::reported_in(this.scope);
        if let (Ok(value), Some(key)) = (&result, this.key.take()) {
            if quality == Quality::Degraded {
                telemetry::not_stored(&this.values.inner.name, "degraded");
            } else {
                this.values.learn(key, Known { as_of: *this.begun, value: Some(value.clone()) });
            }
        }
        Poll::Ready(result)
    }
}

impl<K, V, F> fmt::Debug for KeepValue<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeepValue").field("values", &self.values).finish_non_exhaustive()
    }
}
