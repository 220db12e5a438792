//! Everything that a healthy call reads, in one 64-bit word.
//!
//! ```text
//! bits   63 … 46         45 … 21      20          19 … 4     3      2 … 0
//!        failure count   generation   observing   position   full   phase
//!        (signed)
//! ```
//!
//! In one word, they change together: the same compare-and-swap counts the failure that trips and opens the circuit, and a
//! result of an older generation fails the comparison instead of being counted in a later one.
//!
//! Bit 2 of a closed circuit's phase says that slow calls are counted, too, in another word. A circuit that counts failures
//! in a row without a ring is full from the start, because there is nothing to fill. So the lowest four bits and the count
//! say whether a success [changes anything](PackedState::is_unchanged_by_success).
//!
//! The [mode](CircuitMode) is in the word, so that a call finds state and mode of the same moment: a circuit that begins to
//! enforce can't refuse by what it only observed.
//!
//! Without a ring, the position holds the approximate time of the latest failure.
//!
//! The count is signed, because with a ring it may be below zero for a moment: a call that replaces a failure can subtract it
//! before that failure's thread has added it.

use crate::CircuitMode;

const PHASE: u64 = 0b111;
/// Zero if it is closed.
const PHASE_KIND: u64 = 0b011;
const COUNTS_SLOW: u64 = 0b100;
const FULL: u64 = 1 << 3;
const POSITION_SHIFT: u32 = 4;
const POSITION: u64 = 0xFFFF << POSITION_SHIFT;
const OBSERVING: u64 = 1 << 20;
const GENERATION_SHIFT: u32 = 21;
const GENERATION_BITS: u32 = 25;
const COUNT_SHIFT: u32 = GENERATION_SHIFT + GENERATION_BITS;
const COUNT: u64 = !0 << COUNT_SHIFT;

/// The longest window and the largest failure threshold that fit the word.
pub(crate) const MAX_CALLS: u32 = 1 << 16;

/// What happens to a call. The state half-open is two phases, so that the word alone says whether to refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Calls pass, and are counted.
    Closed = 0,
    /// Calls are refused until the wait has passed.
    Open = 1,
    /// Half-open, and another probe may start.
    Probing = 2,
    /// Half-open, and every permit is leased. Calls are refused until a permit is given back, or a lease expires.
    Saturated = 3,
    /// Calls are refused until an operator ends that. Not 4, which means closed.
    Forced = 5,
    /// Recovering: a share of the calls passes, and they are counted as in a closed circuit.
    Ramp = 6,
}

/// The number of transitions before a call was admitted, in as many bits as fit the word.
///
/// It wraps: a result would have to be delayed for exactly 2²⁵ transitions to be counted in the wrong generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Generation(u32);

impl Generation {
    const MASK: u32 = (1 << GENERATION_BITS) - 1;

    pub(crate) const FIRST: Self = Self(0);

    /// That of no word.
    pub(crate) const NONE: Self = Self(u32::MAX);

    pub(crate) const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    pub(crate) const fn bits(self) -> u32 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self((self.0 + 1) & Self::MASK)
    }

    /// Whether `self` came after `other`, if they are less than half the range apart.
    pub(crate) const fn is_after(self, other: Self) -> bool {
        let ahead = self.0.wrapping_sub(other.0) & Self::MASK;
        ahead != 0 && ahead <= Self::MASK / 2
    }
}

/// An approximate time, in units of 17 s. It wraps after 13 days, so an older time may look recent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mark(u16);

impl Mark {
    const SHIFT: u32 = 34;

    pub(crate) const fn at(now: u64) -> Self {
        Self((now >> Self::SHIFT) as u16)
    }

    /// Whether at least `time` has passed until `now`.
    pub(crate) const fn is_older_than(self, time: u64, now: u64) -> bool {
        // One unit more, because both moments are rounded down.
        Self::at(now).0.wrapping_sub(self.0) as u64 > time.div_ceil(1 << Self::SHIFT)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct PackedState(u64);

impl PackedState {
    /// The word at the start of a generation: nothing counted.
    pub(crate) const fn new(phase: Phase, generation: Generation) -> Self {
        Self(phase as u64 | (generation.0 as u64) << GENERATION_SHIFT)
    }

    pub(crate) const fn with_mode(self, mode: CircuitMode) -> Self {
        match mode {
            CircuitMode::Enforcing => Self(self.0 & !OBSERVING),
            CircuitMode::Observing => Self(self.0 | OBSERVING),
        }
    }

    /// The word at the start of the next generation, in the same mode.
    pub(crate) const fn next(self, phase: Phase) -> Self {
        Self::new(phase, self.generation().next()).with_mode(self.mode())
    }

    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(crate) const fn bits(self) -> u64 {
        self.0
    }

    pub(crate) const fn phase(self) -> Phase {
        match self.0 & PHASE {
            0 | COUNTS_SLOW => Phase::Closed,
            1 => Phase::Open,
            2 => Phase::Probing,
            3 => Phase::Saturated,
            6 => Phase::Ramp,
            _ => Phase::Forced,
        }
    }

    pub(crate) const fn mode(self) -> CircuitMode {
        if self.0 & OBSERVING == 0 { CircuitMode::Enforcing } else { CircuitMode::Observing }
    }

    pub(crate) const fn is_closed(self) -> bool {
        self.0 & PHASE_KIND == Phase::Closed as u64
    }

    pub(crate) const fn is_ramp(self) -> bool {
        self.0 & PHASE == Phase::Ramp as u64
    }

    /// Whether results are counted.
    pub(crate) const fn counts_results(self) -> bool {
        self.is_closed() || self.is_ramp()
    }

    /// The word of a closed circuit that counts slow calls, too.
    pub(crate) const fn counting_slow(self) -> Self {
        Self(self.0 | COUNTS_SLOW)
    }

    pub(crate) const fn counts_slow(self) -> bool {
        self.0 & PHASE == COUNTS_SLOW
    }

    /// Whether the circuit is closed, and all results in the window are successes, so that another success changes nothing. If
    /// the circuit [counts](Self::counts_slow) slow calls, those must be checked, too.
    pub(crate) const fn is_unchanged_by_success(self) -> bool {
        self.0 & (COUNT | FULL | PHASE_KIND) == FULL
    }

    pub(crate) const fn generation(self) -> Generation {
        Generation::from_bits((self.0 >> GENERATION_SHIFT) as u32)
    }

    pub(crate) const fn count(self) -> i32 {
        // The topmost field, so that an arithmetic shift keeps its sign.
        (self.0.cast_signed() >> COUNT_SHIFT) as i32
    }

    /// The failures counted. Zero if the count is below zero for a moment.
    pub(crate) fn failures(self) -> u32 {
        self.count().max(0).cast_unsigned()
    }

    /// Adds to the count. It is the topmost field, so an overflow doesn't change other fields.
    pub(crate) const fn plus(self, delta: i32) -> Self {
        Self(self.0.wrapping_add((delta as i64).cast_unsigned() << COUNT_SHIFT))
    }

    /// Marks the time of a failure, in a circuit without a ring.
    pub(crate) const fn failed_at(self, mark: Mark) -> Self {
        Self((self.0 & !POSITION) | (mark.0 as u64) << POSITION_SHIFT)
    }

    /// The time of the latest failure, as marked by [`failed_at`](Self::failed_at).
    pub(crate) const fn mark(self) -> Mark {
        Mark(self.position() as u16)
    }

    pub(crate) const fn without_count(self) -> Self {
        Self(self.0 & !COUNT)
    }

    /// Where the next result goes in the ring.
    pub(crate) const fn position(self) -> u32 {
        ((self.0 & POSITION) >> POSITION_SHIFT) as u32
    }

    /// Whether the ring has been filled in this generation.
    pub(crate) const fn is_full(self) -> bool {
        self.0 & FULL != 0
    }

    pub(crate) const fn full(self) -> Self {
        Self(self.0 | FULL)
    }

    /// The word after the next position of a ring of `len` was claimed.
    pub(crate) const fn advanced(self, len: u32) -> Self {
        let next = self.position() + 1;
        if next == len {
            Self((self.0 & !POSITION) | FULL)
        } else {
            Self((self.0 & !POSITION) | (next as u64) << POSITION_SHIFT)
        }
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_spill_into_one_another() {
        let last = Generation::from_bits(u32::MAX);
        let word = PackedState::new(Phase::Forced, last).plus(-1).advanced(MAX_CALLS);
        assert_eq!(word.count(), -1);
        assert_eq!(word.position(), 1);
        assert_eq!(word.generation(), last);
        assert_eq!((word.phase(), word.mode()), (Phase::Forced, CircuitMode::Enforcing));
        let word = word.with_mode(CircuitMode::Observing);
        assert_eq!((word.generation(), word.position(), word.count()), (last, 1, -1));
        assert_eq!(word.next(Phase::Open).mode(), CircuitMode::Observing);
        assert_eq!(word.with_mode(CircuitMode::Enforcing).mode(), CircuitMode::Enforcing);
        let word = word.plus(1 + MAX_CALLS as i32);
        assert_eq!(word.count(), MAX_CALLS as i32);
        assert_eq!(word.without_count().count(), 0);
        assert_eq!(word.generation(), last);
        assert!(!word.is_full());
    }

    #[test]
    fn the_longest_ring_comes_round_to_its_start() {
        let mut word = PackedState::new(Phase::Closed, Generation::FIRST);
        for position in 0..MAX_CALLS {
            assert_eq!(word.position(), position);
            assert!(!word.is_full());
            word = word.advanced(MAX_CALLS);
        }
        assert_eq!(word.position(), 0);
        assert!(word.is_full());
    }

    #[test]
    fn a_mark_is_never_taken_for_older_than_it_is() {
        const SECOND: u64 = 1_000_000_000;
        let week = 7 * 24 * 3600;
        for failed in [0, 1, 16, 17, 18, 3_600, week] {
            let word = PackedState::new(Phase::Closed, Generation::FIRST).failed_at(Mark::at(failed * SECOND));
            for (time, later) in [(60, 59), (600, 600), (week, week - 1), (week, 0)] {
                assert!(
                    !word.mark().is_older_than(time * SECOND, (failed + later) * SECOND),
                    "{failed} {time} {later}"
                );
            }
            for time in [1, 60, 600, week] {
                assert!(word.mark().is_older_than(time * SECOND, (failed + time + 2 * 18) * SECOND));
            }
        }
    }

    #[test]
    fn generations_stay_in_order_when_they_wrap() {
        let last = Generation::from_bits(u32::MAX);
        assert_eq!(last.next(), Generation::FIRST);
        assert!(last.next().is_after(last));
        assert!(!last.is_after(last.next()));
        assert!(!last.is_after(last));
    }
}
