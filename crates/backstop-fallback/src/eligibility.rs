//! Finds chains that can't help: none of their providers may be asked, whatever request comes.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// After this many requests in a row for which no provider was eligible, that is logged, once.
const LOGGED_AFTER: u32 = 10;
/// A provider was asked.
const SETTLED: u32 = u32::MAX;

/// Counts the requests that no provider was eligible for, until one is asked.
#[derive(Debug)]
pub(crate) struct Eligibility(AtomicU32);

impl Eligibility {
    pub(crate) const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// A provider is asked.
    pub(crate) fn asked(&self) {
        if self.0.load(Relaxed) != SETTLED {
            self.0.store(SETTLED, Relaxed);
        }
    }

    /// A request that may have been processed found no provider that may be asked all the same. Returns whether to log that.
    pub(crate) fn none_eligible(&self) -> bool {
        let next = |count: u32| (count < LOGGED_AFTER).then(|| count + 1);
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok_and(|count| count + 1 == LOGGED_AFTER)
    }
}
