//! A random part of a wait, so that those who were refused together don't come back together.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use crate::state::nanos;

/// Shares and draws are fixed-point numbers of 32 bits behind the point.
const UNIT: f64 = (1_u64 << 32) as f64;

/// Draws without a lock, from the thread's own generator or, where there is a seed, the same draws every time.
#[derive(Debug)]
pub(crate) struct Jitter {
    /// Up to and with 1.
    share: AtomicU64,
    next_seed: Option<Box<AtomicU64>>,
}

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { share: AtomicU64::new(0), next_seed: seed.map(|seed| Box::new(AtomicU64::new(seed))) }
    }

    pub(crate) fn set(&self, share: f64) {
        // Rounded down: never more than the share.
        self.share.store((share * UNIT) as u64, Relaxed);
    }

    /// 0 to the share of `wait`.
    pub(crate) fn of(&self, wait: Duration) -> Duration {
        let share = self.share.load(Relaxed);
        if share == 0 {
            return Duration::ZERO;
        }
        let draw = match &self.next_seed {
            None => fastrand::u32(..),
            Some(seed) => fastrand::Rng::with_seed(seed.fetch_add(1, Relaxed)).u32(..),
        };
        Duration::from_nanos(part(part(nanos(wait), share), draw.into()))
    }
}

/// That share of a whole. Refused callers wait for this: no division, and no floating point.
const fn part(whole: u64, share: u64) -> u64 {
    ((whole as u128 * share as u128) >> 32) as u64
}
