//! Finds chains that can't help, because no provider was ever eligible.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// Logged once, after this many requests in a row without an eligible provider.
const LOGGED_AFTER: u32 = 10;
/// A provider was asked.
const SETTLED: u32 = u32::MAX;

/// Counts requests without an eligible provider, until a provider is asked.
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

    /// Counts a request without an eligible provider. Returns whether to log.
    pub(crate) fn none_eligible(&self) -> bool {
        let next = |count: u32| (count < LOGGED_AFTER).then(|| count + 1);
        self.0.fetch_update(Relaxed, Relaxed, next).is_ok_and(|count| count + 1 == LOGGED_AFTER)
    }
}
