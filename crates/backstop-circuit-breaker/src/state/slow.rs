//! The slow calls among the last N, beside whatever counts the failures.
//!
//! They are counted in a word and a ring of their own, in the way that failures are in the circuit's, and by calls of
//! the same generation. What can't be done with one word more is to open the circuit by the very compare-and-swap that
//! counts: so the slow call that trips is counted first, and then opens the circuit under the lock, if that is still of
//! its generation and the window still says so.

use super::{
    policy::{failures, is_share},
    ring::Ring,
    sync::{AtomicU64, Ordering},
    word::{Generation, Phase, Word},
};

/// When slow calls open the circuit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowRate {
    pub(crate) share: u32,
    pub(crate) window: u32,
    pub(crate) min_calls: u32,
}

/// Boxed, as most circuits have none.
#[derive(Debug)]
pub(super) struct SlowCalls {
    /// A [`Word`] whose phase means nothing. Its generation is the circuit's latest, or one that lasts no longer.
    word: AtomicU64,
    ring: Ring,
    rate: SlowRate,
}

impl SlowCalls {
    pub(super) fn new(rate: SlowRate) -> Self {
        let word = Word::new(Phase::Closed, Generation::FIRST);
        Self { word: AtomicU64::new(word.bits()), ring: Ring::new(rate.window), rate }
    }

    /// Counts a call that was slow or not. Returns whether the circuit should open.
    pub(super) fn count(&self, generation: Generation, slow: bool) -> bool {
        let word = self.load();
        // As with failures: a window that a fast call leaves as it is needs no write.
        if !slow && word.count() == 0 && word.is_full() {
            return false;
        }
        let Some(delta) = self.exchange(generation, slow) else {
            return false;
        };
        let counted = match delta {
            0 => Some(self.load()),
            _ => self.update(generation, |word| word.plus(delta)).map(|word| word.plus(delta)),
        };
        slow && counted.is_some_and(|word| self.trips(generation, word).is_some())
    }

    /// The slow calls and all calls, where the window says that the circuit should open.
    pub(super) fn tripped(&self, generation: Generation) -> Option<(u32, u32)> {
        self.trips(generation, self.load())
    }

    /// How many slow calls there are in the window.
    pub(super) fn slow(&self) -> u32 {
        failures(self.load())
    }

    /// Starts a generation. Called under the lock, before the circuit's own word is published.
    pub(super) fn renew(&self, turn: u64, generation: Generation) {
        self.ring.renew(turn, generation);
        self.word.swap(Word::new(Phase::Closed, generation).bits(), Ordering::AcqRel);
    }

    fn trips(&self, generation: Generation, word: Word) -> Option<(u32, u32)> {
        let calls = if word.is_full() { self.ring.len() } else { word.position() };
        let slow = failures(word);
        let trips =
            word.generation() == generation && calls >= self.rate.min_calls && is_share(slow, calls, self.rate.share);
        trips.then_some((slow, calls))
    }

    fn exchange(&self, generation: Generation, slow: bool) -> Option<i32> {
        let claimed = self.update(generation, |word| word.advanced(self.ring.len()))?;
        let replaced = self.ring.put(claimed.position(), generation, slow)?;
        Some(i32::from(slow) - i32::from(replaced))
    }

    /// Changes the word and returns what it was; `None` where `generation` has ended.
    fn update(&self, generation: Generation, change: impl Fn(Word) -> Word) -> Option<Word> {
        let mut word = self.load();
        loop {
            if word.generation() != generation {
                return None;
            }
            let next = change(word).bits();
            match self.word.compare_exchange_weak(word.bits(), next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(word),
                Err(seen) => word = Word::from_bits(seen),
            }
        }
    }

    fn load(&self) -> Word {
        Word::from_bits(self.word.load(Ordering::Acquire))
    }
}
