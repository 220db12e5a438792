//! The results of exactly the last N calls, one bit each, written by many threads without a lock.
//!
//! A ring word is 32 results and the generation that they belong to. The tag makes clearing the ring free (a word of an
//! older generation reads as no failures), and keeps a writer that was overtaken by a transition from writing into its
//! successor's window.
//!
//! A writer first claims its position in the circuit's word, then exchanges the bit here, then adds "new minus
//! replaced" to the count. To read the replaced bit before claiming its position would let two writers subtract the
//! same failure.

use super::sync::{AtomicU64, Ordering};
use super::word::Generation;

const BITS: u32 = 32;
const RESULTS: u64 = u32::MAX as u64;

#[derive(Debug)]
pub(crate) struct Ring {
    words: Box<[AtomicU64]>,
    len: u32,
}

impl Ring {
    /// Takes results of `generation` and later ones.
    pub(crate) fn new(len: u32, generation: Generation) -> Self {
        let words = (0..len.div_ceil(BITS)).map(|_| AtomicU64::new(tagged(generation, 0)));
        Self { words: words.collect(), len }
    }

    pub(crate) const fn len(&self) -> u32 {
        self.len
    }

    /// Puts a result at a claimed position and returns what it replaced: true for a failure.
    ///
    /// `None` where a later generation has the word already; then the result belongs nowhere any more.
    pub(crate) fn put(&self, position: u32, generation: Generation, failed: bool) -> Option<bool> {
        let word = self.words.get((position / BITS) as usize)?;
        let bit = 1 << (position % BITS);
        // Acquire and release: what another writer exchanged is added to the count once by its own thread, and the two
        // must see each other's bit in the order of their exchanges.
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
            let next = tagged(generation, if failed { results | bit } else { results & !bit });
            if next == current {
                return Some(failed);
            }
            match word.compare_exchange_weak(current, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(results & bit != 0),
                Err(seen) => current = seen,
            }
        }
    }

    /// Brings one word up to `generation`, which must not take results yet.
    ///
    /// Called once a transition with a running `turn`, so that no tag ever grows old enough to be taken for a later one
    /// when generations wrap.
    pub(crate) fn renew(&self, turn: u64, generation: Generation) {
        let index = turn % self.words.len() as u64;
        if let Some(word) = self.words.get(index as usize) {
            // An exchange, though nobody looks at what was there: it takes its turn among those of late writers, which either
            // came before it, or see the newer tag.
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

    #[test]
    fn a_put_returns_what_it_replaced() {
        let ring = Ring::new(40, Generation::FIRST);
        assert_eq!(ring.put(39, Generation::FIRST, true), Some(false));
        assert_eq!(ring.put(38, Generation::FIRST, false), Some(false));
        assert_eq!(ring.put(39, Generation::FIRST, true), Some(true));
        assert_eq!(ring.put(39, Generation::FIRST, false), Some(true));
        assert_eq!(ring.put(39, Generation::FIRST, false), Some(false));
    }

    #[test]
    fn a_new_generation_finds_no_failures() {
        let ring = Ring::new(2, Generation::FIRST);
        ring.put(0, Generation::FIRST, true);
        ring.put(1, Generation::FIRST, true);
        assert_eq!(ring.put(0, SECOND, false), Some(false));
        assert_eq!(ring.put(1, SECOND, true), Some(false));
    }

    #[test]
    fn a_late_writer_does_not_reach_a_newer_generation() {
        let ring = Ring::new(2, Generation::FIRST);
        ring.put(0, SECOND, false);
        assert_eq!(ring.put(0, Generation::FIRST, true), None);
        assert_eq!(ring.put(0, SECOND, false), Some(false));
    }

    #[test]
    fn renewal_reaches_every_word() {
        let ring = Ring::new(64, Generation::FIRST);
        let mut generation = Generation::FIRST;
        for turn in 0..2 {
            generation = generation.next();
            ring.renew(turn, generation);
        }
        assert_eq!(ring.put(0, Generation::FIRST, true), None);
        assert_eq!(ring.put(63, Generation::FIRST, true), None);
    }
}
