//! Shares of calls, compared exactly.

/// A share of calls, above 0 and up to 1.
///
/// It is stored as a multiple of 2⁻⁴⁸: rounded down, minus one. Two fractions of at most 65,536 calls differ by at least 2⁻³².
/// So a share that was computed as `k as f64 / n as f64` is reached by exactly `k` of `n`: the stored value isn't above that
/// fraction, and it is above every smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share(u64);

impl Share {
    pub(crate) const SMALLEST: f64 = 0.000_001;
    pub(super) const BITS: u32 = 48;

    /// `share` is between [`SMALLEST`](Self::SMALLEST) and 1.
    pub(crate) const fn new(share: f64) -> Self {
        // Scaling by a power of two is exact.
        Self(((share * (1_u64 << Self::BITS) as f64) as u64).saturating_sub(1))
    }

    /// The share, to the stored precision.
    pub(crate) const fn get(self) -> f64 {
        (self.0 + 1) as f64 / (1_u64 << Self::BITS) as f64
    }

    /// Fits into [`BITS`](Self::BITS).
    pub(super) const fn bits(self) -> u64 {
        self.0
    }

    pub(super) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Whether `part` of `calls` reach the share.
    pub(super) const fn is_reached(self, part: u32, calls: u32) -> bool {
        (part as u128) << Self::BITS >= calls as u128 * self.0 as u128
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn enough(share: f64, calls: u32) -> Option<u32> {
        (1..=calls).find(|part| Share::new(share).is_reached(*part, calls))
    }

    #[test]
    fn every_fraction_of_up_to_200_calls_is_reached_by_exactly_its_part() {
        for calls in 1..=200 {
            for part in 1..=calls {
                assert_eq!(enough(f64::from(part) / f64::from(calls), calls), Some(part), "{part} / {calls}");
            }
        }
    }

    #[test]
    fn the_smallest_share_and_all_are_told_from_their_neighbours() {
        assert!(Share::new(1.0).is_reached(u32::MAX, u32::MAX) && !Share::new(1.0).is_reached(u32::MAX - 1, u32::MAX));
        let smallest = Share::new(Share::SMALLEST);
        assert!(smallest.is_reached(1, 1_000_000) && !smallest.is_reached(1, 1_000_001));
    }

    proptest! {
        #[test]
        fn a_fraction_is_reached_by_its_part_of_any_window(calls in 1..=65_536_u32, part in 1..=65_536_u32, times in 1..=16_u32) {
            let part = part.min(calls);
            let share = Share::new(f64::from(part) / f64::from(calls));
            prop_assume!(f64::from(part) / f64::from(calls) >= Share::SMALLEST);
            prop_assert!(share.is_reached(part * times, calls * times));
            prop_assert!(!share.is_reached(part * times - 1, calls * times));
        }

        #[test]
        fn any_share_is_reached_when_the_quotient_is_as_large(share in 0.000_001..=1.0_f64, calls in 1..=65_536_u32, part in 0..=65_536_u32) {
            let part = part.min(calls);
            prop_assert_eq!(Share::new(share).is_reached(part, calls), f64::from(part) / f64::from(calls) >= share);
        }
    }
}
