//! How long to wait before the next attempt.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Exponential backoff with full jitter: before attempt *n* + 1, a uniformly random time from
/// [0, min(cap, base · 2ⁿ⁻¹)].
///
/// Source: Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015. Of the variants that it compares,
/// full jitter costs the recovering service the least work; without jitter the callers come back all at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// `base` is at most `cap`, and `cap` fits into 2⁶⁴ ns (584 years): the configuration sees to both.
    pub(crate) const fn exponential(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The longest wait after `attempts` attempts.
    pub(crate) fn ceiling(&self, attempts: u32) -> Duration {
        // A base of at most 2⁶⁴ ns shifted by at most 64 bits fits into 128, whatever the attempt.
        let doublings = attempts.saturating_sub(1).min(64);
        let grown = u128::from(nanos(self.base)) << doublings;
        Duration::from_nanos(u64::try_from(grown).unwrap_or(u64::MAX)).min(self.cap)
    }

    /// The wait after `attempts` attempts.
    pub(crate) fn delay(&self, attempts: u32, jitter: &Jitter) -> Duration {
        // In nanoseconds: in anything coarser a short base would jitter between a few values, or none.
        Duration::from_nanos(jitter.draw(nanos(self.ceiling(attempts))))
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// 2⁶⁴ divided by the golden ratio, made odd: seeds that are this far apart never repeat, and share no pattern
/// (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// Where a layer's randomness comes from.
///
/// Every draw takes a seed of its own from one shared sequence. So no two requests share their jitter, however the layer
/// and its services are cloned, nothing is locked, and a request that isn't repeated draws nothing.
#[derive(Debug)]
pub(crate) struct Jitter {
    next_seed: AtomicU64,
}

impl Jitter {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { next_seed: AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..))) }
    }

    /// Uniform in `0..=most`.
    fn draw(&self, most: u64) -> u64 {
        let seed = self.next_seed.fetch_add(GAMMA, Ordering::Relaxed);
        fastrand::Rng::with_seed(seed).u64(0..=most)
    }
}

#[cfg(test)]
mod tests;
