//! Detects the start and the end of a store outage, so that each is logged once, however many calls fail in between.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

/// An outage ends after this long without a failure, so that a store that fails now and then has one outage.
const QUIET: Duration = Duration::from_secs(60);

/// Whether the store is in an outage.
#[derive(Debug, Default)]
pub(crate) struct Outage {
    /// Written under the lock. Outside an outage, only this is read.
    ongoing: AtomicBool,
    last_failure: Mutex<Option<Instant>>,
}

impl Outage {
    /// Records a failure. Returns whether it starts an outage.
    pub(crate) fn failed(&self) -> bool {
        let mut last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        *last_failure = Some(Instant::now());
        !self.ongoing.swap(true, Relaxed)
    }

    /// Records a success. Returns whether it ends an outage.
    pub(crate) fn worked(&self) -> bool {
        if !self.ongoing.load(Relaxed) {
            return false;
        }
        let last_failure = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        last_failure.is_none_or(|last| last.elapsed() >= QUIET) && self.ongoing.swap(false, Relaxed)
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
