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

    /// A uniform number. The start of the range if the range is empty.
    #[must_use]
    pub fn number(&self, range: Range<u64>) -> u64 {
        self.draw().u64(range.start..=range.end.saturating_sub(1).max(range.start))
    }

    /// A uniform time, in whole nanoseconds. More than 584 years count as 584. The start of the range if the range is empty.
    #[must_use]
    pub fn time(&self, range: RangeInclusive<Duration>) -> Duration {
        let start = nanos(*range.start());
        Duration::from_nanos(self.draw().u64(start..=nanos(*range.end()).max(start)))
    }

    /// This time ± 20 %, so that what many instances do at intervals doesn't come at once.
    #[must_use]
    pub fn around(&self, time: Duration) -> Duration {
        self.time(time.saturating_mul(4) / 5..=time.saturating_mul(6) / 5)
    }

    fn draw(&self) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.next_seed.fetch_add(GAMMA, Relaxed))
    }
}

/// 128 random bits, as 32 hexadecimal digits: tells instances and versions apart.
///
/// It isn't a secret: it can be guessed.
#[must_use]
pub fn random_token() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[expect(clippy::reversed_empty_ranges, reason = "they are the case")]
mod tests {
    use super::*;

    #[test]
    fn an_empty_range_gives_its_start() {
        let jitter = Jitter::new(Some(7));
        assert_eq!((jitter.number(5..5), jitter.number(u64::MAX..0), jitter.number(0..1)), (5, u64::MAX, 0));
        let (short, long) = (Duration::from_millis(1), Duration::from_secs(1));
        assert_eq!((jitter.time(long..=short), jitter.time(short..=short)), (long, short));
    }

    #[test]
    fn around_a_time_is_within_a_fifth_of_it() {
        let (jitter, second) = (Jitter::new(Some(7)), Duration::from_secs(1));
        let drawn: Vec<_> = (0..1_000).map(|_| jitter.around(second)).collect();
        let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!(second * 80 / 100 <= least && least < second * 81 / 100, "{least:?}");
        assert!(second * 119 / 100 < most && most <= second * 120 / 100, "{most:?}");
    }

    #[test]
    fn a_range_is_drawn_from_whole() {
        let jitter = Jitter::new(Some(7));
        let mut drawn: Vec<_> = (0..100).map(|_| jitter.number(3..6)).collect();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn, [3, 4, 5]);
    }
}
