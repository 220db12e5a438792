//! A random part of a wait, so that those who were refused together don't come back together.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

const UNIT: f64 = 1e6;

/// Draws without a lock, from the thread's own generator or, where there is a seed, the same draws every time.
#[derive(Debug)]
pub(crate) struct Jitter {
    /// In millionths.
    share: AtomicU32,
    next_seed: Option<Box<AtomicU64>>,
}

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { share: AtomicU32::new(0), next_seed: seed.map(|seed| Box::new(AtomicU64::new(seed))) }
    }

    pub(crate) fn set(&self, share: f64) {
        self.share.store((share * UNIT).round() as u32, Relaxed);
    }

    /// 0 to the share of `wait`.
    pub(crate) fn of(&self, wait: Duration) -> Duration {
        let share = self.share.load(Relaxed);
        if share == 0 {
            return Duration::ZERO;
        }
        let draw = match &self.next_seed {
            None => fastrand::f64(),
            Some(seed) => fastrand::Rng::with_seed(seed.fetch_add(1, Relaxed)).f64(),
        };
        // Both factors are 0 to 1.
        wait.mul_f64(f64::from(share) / UNIT * draw)
    }
}
