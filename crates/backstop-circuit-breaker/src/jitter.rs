//! A random part of a wait, so that those who were refused together don't come back together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// Draws without a lock, from the thread's own generator or, where there is a seed, the same draws every time.
#[derive(Clone, Debug)]
pub(crate) struct Jitter {
    share: f64,
    next_seed: Option<Arc<AtomicU64>>,
}

impl Jitter {
    pub(crate) fn new(share: f64, seed: Option<u64>) -> Self {
        Self { share, next_seed: seed.map(|seed| Arc::new(AtomicU64::new(seed))) }
    }

    /// 0 to the share of `wait`.
    pub(crate) fn of(&self, wait: Duration) -> Duration {
        if self.share == 0.0 {
            return Duration::ZERO;
        }
        let draw = match &self.next_seed {
            None => fastrand::f64(),
            Some(seed) => fastrand::Rng::with_seed(seed.fetch_add(1, Ordering::Relaxed)).f64(),
        };
        // Both factors are 0 to 1.
        wait.mul_f64(self.share * draw)
    }
}
