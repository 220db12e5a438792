//! Which refreshes are running.

use std::{
    collections::HashSet,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

type Running = Arc<Mutex<HashSet<Vec<u8>>>>;

/// At most one refresh of each key, and at most so many in all.
pub(super) struct Flights {
    running: Running,
    most: usize,
}

impl Flights {
    pub(super) fn at_most(most: usize) -> Self {
        Self { running: Running::default(), most }
    }

    /// The right to refresh what is under `key`, unless somebody has it, or too much is being refreshed.
    pub(super) fn take_off(&self, key: Vec<u8>) -> Option<Flight> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if running.len() >= self.most || !running.insert(key.clone()) {
            return None;
        }
        drop(running);
        Some(Flight { running: Arc::clone(&self.running), key })
    }
}

/// A refresh that is running, or is about to. It is over when this is dropped, however that comes.
pub(super) struct Flight {
    running: Running,
    key: Vec<u8>,
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

/// Without the keys, which hold what was asked for.
impl fmt::Debug for Flights {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("most", &self.most).finish_non_exhaustive()
    }
}
