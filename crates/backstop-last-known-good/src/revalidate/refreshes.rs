//! Limits the running refreshes.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

type Running = Arc<Mutex<HashSet<Vec<u8>>>>;

/// The running refreshes: at most one for each key.
#[derive(Default)]
pub(super) struct RunningRefreshes {
    running: Running,
}

impl RunningRefreshes {
    /// Starts a refresh of `key`, unless one is running already, or as many as `max` are.
    pub(super) fn try_start(&self, key: Vec<u8>, max: usize) -> Option<RefreshPermit> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= max || !running.insert(key.clone()) {
            return None;
        }
        drop(running);
        Some(RefreshPermit { running: Arc::clone(&self.running), key })
    }
}

/// Held by a refresh that runs or is about to. Dropping it ends the refresh.
pub(super) struct RefreshPermit {
    running: Running,
    key: Vec<u8>,
}

impl Drop for RefreshPermit {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Without the keys, which contain requests.
impl fmt::Debug for RunningRefreshes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunningRefreshes").finish_non_exhaustive()
    }
}
