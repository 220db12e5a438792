//! A call whose value is remembered.

use std::{
    fmt,
    hash::Hash,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::Scope;
use pin_project_lite::pin_project;

use super::{LastKnownValues, Record, Revision};
use crate::{quality::Quality, telemetry};

pin_project! {
    /// The future of [`LastKnownValues::remember_result`].
    ///
    /// # Cancellation
    /// Dropping it drops the call, and remembers nothing.
    #[must_use = "futures do nothing unless polled"]
    pub struct RememberResult<K, V, F> {
        #[pin]
        call: F,
        // Collects what the call reports.
        scope: Scope,
        // `None` after the call has ended.
        key: Option<K>,
        revision: Revision,
        values: LastKnownValues<K, V>,
    }
}

impl<K, V> LastKnownValues<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Runs `call`, and remembers its value for `key`. Returns the result of `call` unchanged.
    ///
    /// The value's age counts from the moment this method is called, so it is never too low. Degradations that `call`
    /// reports still reach the [scope](backstop_core::scope) outside.
    ///
    /// # Cancellation
    /// Dropping the future drops `call`. The value remembered before stays.
    pub fn remember_result<F, E>(&self, key: K, call: F) -> RememberResult<K, V, F>
    where
        F: Future<Output = Result<V, E>>,
    {
        let values = self.clone();
        RememberResult { call, scope: Scope::new(), key: Some(key), revision: values.inner.next_revision(), values }
    }
}

impl<K, V, E, F> Future for RememberResult<K, V, F>
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
                this.values.update(key, Record { revision: *this.revision, value: Some(value.clone()) });
            }
        }
        Poll::Ready(result)
    }
}

impl<K, V, F> fmt::Debug for RememberResult<K, V, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RememberResult").field("values", &self.values).finish_non_exhaustive()
    }
}
