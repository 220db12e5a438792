//! How many requests a provider may have at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A provider's limit, and how much of it is in use. Shared by all clones of the chain.
#[derive(Clone, Debug)]
pub(crate) struct Concurrency(Arc<Permits>);

#[derive(Debug)]
struct Permits {
    limit: usize,
    // No other memory depends on it, so `Relaxed` is enough.
    in_use: AtomicUsize,
}

/// One request's place in a provider, released when it is dropped.
#[derive(Debug)]
pub(crate) struct Permit(Arc<Permits>);

impl Concurrency {
    pub(crate) fn new(limit: usize) -> Self {
        Self(Arc::new(Permits { limit, in_use: AtomicUsize::new(0) }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// A permit, unless all are in use. There is no waiting: the chain has other providers.
    pub(crate) fn try_acquire(&self) -> Option<Permit> {
        let one_more = |in_use| (in_use < self.0.limit).then_some(in_use + 1);
        self.0.in_use.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Permit(Arc::clone(&self.0)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.in_use.fetch_sub(1, Relaxed);
    }
}
