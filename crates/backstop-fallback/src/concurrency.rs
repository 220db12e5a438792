//! How many requests a provider may have at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The requests that a provider has. Counted without a limit, too, so that a reload can set one.
// No other memory depends on it, so `Relaxed` is enough.
#[derive(Debug, Default)]
pub(crate) struct Concurrency(Arc<AtomicUsize>);

/// One request's place in a provider, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<AtomicUsize>);

impl Concurrency {
    /// A permit, unless as many as `limit` are in use. There is no waiting: the chain has other providers.
    pub(crate) fn try_acquire(&self, limit: Option<usize>) -> Option<Permit> {
        let one_more = |in_use| (in_use < limit.unwrap_or(usize::MAX)).then_some(in_use + 1);
        self.0.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Permit(Arc::clone(&self.0)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
