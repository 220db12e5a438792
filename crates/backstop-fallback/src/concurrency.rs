//! How many requests a provider may have at a time.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// The requests that a provider has. Counted without a limit, too, so that a reload can set one.
// No other memory depends on it, so `Relaxed` is enough.
#[derive(Debug, Default)]
pub(crate) struct Concurrency(Arc<AtomicUsize>);

/// One request's place in a provider, released when it is dropped. `None` if it isn't counted.
#[derive(Debug)]
pub(crate) struct Permit(Option<Arc<AtomicUsize>>);

impl Concurrency {
    /// A permit, unless as many as `limit` are in use. There is no waiting: the chain has other providers.
    pub(crate) fn try_acquire(&self, limit: Option<usize>) -> Option<Permit> {
        let one_more = |in_use| (in_use < limit.unwrap_or(usize::MAX)).then_some(in_use + 1);
        self.0.fetch_update(Relaxed, Relaxed, one_more).ok().map(|_| Permit(Some(Arc::clone(&self.0))))
    }

    /// A permit that isn't counted, unless as many as `limit` are in use.
    pub(crate) fn uncounted(&self, limit: Option<usize>) -> Option<Permit> {
        limit.is_none_or(|limit| self.0.load(Relaxed) < limit).then_some(Permit(None))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(in_use) = &self.0 {
            in_use.fetch_sub(1, Relaxed);
        }
    }
}
