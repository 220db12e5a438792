//! When a store begins to fail, and when it works again: two lines of log, however many calls fail in between.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// How long a store must not have failed to count as working again: one that fails now and then is one outage.
const QUIET: Duration = Duration::from_secs(60);

/// Whether a store fails.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Written under the lock. Without an outage a call reads this alone.
    runs: AtomicBool,
    last_failure: Mutex<Option<Instant>>,
}

impl Outage {
    /// The store failed. Whether that begins an outage.
    pub(crate) fn failed(&self) -> bool {
        let mut last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last_failure = Some(Instant::now());
        !self.runs.swap(true, Relaxed)
    }

    /// The store worked. Whether that ends an outage.
    pub(crate) fn worked(&self) -> bool {
        if !self.runs.load(Relaxed) {
            return false;
        }
        let last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last_failure.is_none_or(|last| last.elapsed() >= QUIET) && self.runs.swap(false, Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_outage_begins_once_and_ends_once_the_store_has_not_failed_for_a_minute() {
        let outage = Outage::default();
        assert!(!outage.worked());
        assert!(outage.failed());
        for _ in 0..10 {
            assert!(!outage.failed());
            tokio::time::advance(QUIET - Duration::from_secs(1)).await;
            assert!(!outage.worked());
        }
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(outage.worked());
        assert!(!outage.worked());
        assert!(outage.failed());
    }
}
