//! The results of exactly the last N calls, written by many threads without a lock: one bit for whether a call failed and, if
//! slow calls count, another for whether it was slow.
//!
//! A ring word is 32 bits of results, tagged with their generation. The tag makes clearing the ring free, because a word of an
//! older generation counts as no failures. It also keeps a late writer from writing into a later generation's window.
//!
//! A writer first claims its position in the circuit's word, then exchanges the bit here, then adds "new minus replaced" to the
//! count. If it read the replaced bit before it claimed its position, two writers could subtract the same failure.

use super::packed_state::Generation;
use super::sync::{AtomicU64, Ordering};

const BITS: u32 = 32;
const RESULTS: u64 = u32::MAX as u64;

/// What a ring keeps of a call: whether it failed (bit 0), and whether it was slow (bit 1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CallResult(u64);

impl CallResult {
    #[inline]
    pub(crate) fn new(failed: bool, slow: bool) -> Self {
        Self(u64::from(failed) | u64::from(slow) << 1)
    }

    #[inline]
    pub(crate) const fn failed(self) -> i32 {
        (self.0 & 1) as i32
    }

    #[inline]
    pub(crate) const fn slow(self) -> i32 {
        (self.0 >> 1) as i32
    }
}

#[derive(Debug)]
pub(crate) struct Ring {
    words: Box<[AtomicU64]>,
    len: u32,
    /// 0 for one bit per call, 1 for two bits.
    log2_bits: u32,
}

impl Ring {
    /// For results of `generation` and later ones. Without `slow`, it keeps only whether calls failed.
    pub(crate) fn new(len: u32, slow: bool, generation: Generation) -> Self {
        let log2_bits = u32::from(slow);
        let words = (len << log2_bits).div_ceil(BITS);
        let words = (0..words).map(|_| AtomicU64::new(tagged(generation, 0)));
        Self { words: words.collect(), len, log2_bits }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Puts a result at a claimed position, and returns the replaced one.
    ///
    /// `None` if the word already belongs to a later generation. The result isn't counted then.
    #[inline]
    pub(crate) fn put(&self, position: u32, generation: Generation, result: CallResult) -> Option<CallResult> {
        let first_bit = position << self.log2_bits;
        let word = self.words.get((first_bit / BITS) as usize)?;
        let shift = first_bit % BITS;
        // 1 or 3.
        let mask = u64::from(1 | self.log2_bits << 1) << shift;
        let bits = result.0 << shift & mask;
        // Acquire and release: each thread adds its own exchange to the count once, so two threads must see each other's bit in
        // the order of their exchanges.
        let mut current = word.load(Ordering::Acquire);
        loop {
            let tag = Generation::from_bits((current >> BITS) as u32);
            let results = if tag == generation {
                current & RESULTS
            } else if tag.is_after(generation) {
                return None;
            } else {
                0
            };
            let next = tagged(generation, results & !mask | bits);
            let replaced = CallResult((results & mask) >> shift);
            if next == current {
                return Some(replaced);
            }
            match word.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(replaced),
                Err(seen) => current = seen,
            }
        }
    }

    /// Clears one word for `generation`, which must not have results yet.
    ///
    /// Called once per transition, with an increasing `turn`. So no tag gets so old that it looks like a later one when
    /// generations wrap.
    pub(crate) fn renew(&self, turn: u64, generation: Generation) {
        let index = turn % self.words.len() as u64;
        if let Some(word) = self.words.get(index as usize) {
            // An exchange instead of a store, so that a late writer either comes before it, or sees the newer tag.
            word.swap(tagged(generation, 0), Ordering::AcqRel);
        }
    }
}

fn tagged(generation: Generation, results: u64) -> u64 {
    u64::from(generation.bits()) << BITS | results
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;

    const SECOND: Generation = Generation::FIRST.next();

    /// Whether the call that it replaced had failed.
    fn put(ring: &Ring, position: u32, generation: Generation, failed: bool) -> Option<bool> {
        Some(ring.put(position, generation, CallResult::new(failed, false))?.failed() == 1)
    }

    #[test]
    fn a_put_returns_what_it_replaced() {
        let ring = Ring::new(40, false, Generation::FIRST);
        assert_eq!(put(&ring, 39, Generation::FIRST, true), Some(false));
        assert_eq!(put(&ring, 38, Generation::FIRST, false), Some(false));
        assert_eq!(put(&ring, 39, Generation::FIRST, true), Some(true));
        assert_eq!(put(&ring, 39, Generation::FIRST, false), Some(true));
        assert_eq!(put(&ring, 39, Generation::FIRST, false), Some(false));
    }

    #[test]
    fn failed_and_slow_are_kept_apart_and_apart_from_their_neighbours() {
        let results = [(false, true), (true, false), (true, true), (false, false)];
        let results = results.map(|(failed, slow)| CallResult::new(failed, slow));
        let ring = Ring::new(40, true, Generation::FIRST);
        for position in 0..40 {
            let result = results[position as usize % 4];
            assert_eq!(ring.put(position, Generation::FIRST, result), Some(CallResult::default()));
        }
        for position in 0..40 {
            let replaced = ring.put(position, Generation::FIRST, CallResult::default());
            assert_eq!(replaced, Some(results[position as usize % 4]));
        }
        assert_eq!(ring.put(48, Generation::FIRST, CallResult::default()), None);
    }

    #[test]
    fn a_new_generation_finds_no_failures() {
        let ring = Ring::new(2, false, Generation::FIRST);
        put(&ring, 0, Generation::FIRST, true);
        put(&ring, 1, Generation::FIRST, true);
        assert_eq!(put(&ring, 0, SECOND, false), Some(false));
        assert_eq!(put(&ring, 1, SECOND, true), Some(false));
    }

    #[test]
    fn a_late_writer_does_not_reach_a_newer_generation() {
        let ring = Ring::new(2, false, Generation::FIRST);
        put(&ring, 0, SECOND, false);
        assert_eq!(put(&ring, 0, Generation::FIRST, true), None);
        assert_eq!(put(&ring, 0, SECOND, false), Some(false));
    }

    #[test]
    fn renewal_reaches_every_word() {
        let ring = Ring::new(64, false, Generation::FIRST);
        let mut generation = Generation::FIRST;
        for turn in 0..2 {
            generation = generation.next();
            ring.renew(turn, generation);
        }
        assert_eq!(put(&ring, 0, Generation::FIRST, true), None);
        assert_eq!(put(&ring, 63, Generation::FIRST, true), None);
    }
}
