//! Something that one task does at a time.

use std::{
    sync::atomic::{
        AtomicBool,
        Ordering::{Acquire, Release},
    },
    time::Duration,
};

use tokio::time::sleep;

/// How soon the next one begins.
const AGAIN: Duration = Duration::from_millis(500);

/// Held by whoever does it.
#[derive(Debug, Default)]
pub(crate) struct Lease(AtomicBool);

impl Lease {
    /// Waits until nobody holds it, and holds it until the guard is dropped.
    pub(crate) async fn take(&self) -> LeaseGuard<'_> {
        while self.0.swap(true, Acquire) {
            sleep(AGAIN).await;
        }
        LeaseGuard(&self.0)
    }
}

/// The guard of a [`Lease`].
#[derive(Debug)]
pub(crate) struct LeaseGuard<'a>(&'a AtomicBool);

impl Drop for LeaseGuard<'_> {
    fn drop(&mut self) {
        self.0.store(false, Release);
    }
}
