//! Randomness that can be seeded.

use std::{
    ops::{Range, RangeInclusive},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// 2⁶⁴ divided by the golden ratio, made odd. Seeds at this distance don't repeat and share no pattern (Steele, Lea and
/// Flood, "Fast Splittable Pseudorandom Number Generators", 2014).
const GAMMA: u64 = 0x9E37_79B9_7F4A_7C15;

/// The randomness of a layer.
///
/// Each draw takes the next seed of one sequence, without a lock. So no two requests share their jitter, even if the layer is
/// cloned.
#[derive(Debug)]
pub struct Jitter {
    next_seed: AtomicU64,
}

impl Jitter {
    /// The same seed gives the same draws. `None` gives a random seed.
    #[must_use]
    pub fn new(seed: Option<u64>) -> Self {
        Self { next_seed: AtomicU64::new(seed.unwrap_or_else(|| fastrand::u64(..))) }
    }

    /// A uniform number.
    #[must_use]
    pub fn number(&self, range: Range<u64>) -> u64 {
        self.draw().u64(range)
    }

    /// A uniform time, in whole nanoseconds. More than 584 years count as 584.
    #[must_use]
    pub fn time(&self, range: RangeInclusive<Duration>) -> Duration {
        Duration::from_nanos(self.draw().u64(nanos(*range.start())..=nanos(*range.end())))
    }

    fn draw(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.next_seed.fetch_add(GAMMA, Relaxed))
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
