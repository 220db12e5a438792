//! The slow calls in a window, beside whatever counts the failures.
//!
//! They are counted in a window of their own, in the way that failures are, and by calls of the same generation. What
//! can't be done with one word more is to open the circuit by the very compare-and-swap that counts: so the slow call
//! that trips is counted first, and then opens the circuit under the lock, if that is still of its generation and the
//! window still says so.

use super::{
    Last, Nanos, Share,
    buckets::Buckets,
    knobs::Limit,
    ring::Ring,
    sync::{AtomicU64, Ordering},
    windows::failures,
    word::{Generation, Phase, Word},
};

/// When slow calls open the circuit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowRate {
    pub(crate) share: Share,
    pub(crate) window: Last,
    pub(crate) min_calls: u32,
}

#[derive(Debug)]
pub(super) enum SlowCalls {
    Calls(LastCalls),
    Time(Buckets),
}

impl SlowCalls {
    /// Takes results of `generation` and later ones.
    pub(super) fn new(window: Last, stripes: usize, generation: Generation) -> Self {
        match window {
            Last::Calls(calls) => Self::Calls(LastCalls::new(calls, generation)),
            Last::Time(time) => Self::Time(Buckets::new(time, stripes, generation)),
        }
    }

    /// Whether the window is of that kind and size.
    pub(super) fn is_over(&self, window: Last) -> bool {
        match (self, window) {
            (Self::Calls(last), Last::Calls(calls)) => last.ring.len() == calls,
            (Self::Time(buckets), Last::Time(time)) => buckets.are_of(time),
            _ => false,
        }
    }

    /// Counts a call that was slow or not. Returns whether the circuit should open.
    pub(super) fn count(&self, generation: Generation, slow: bool, limit: &Limit, now: impl Fn() -> Nanos) -> bool {
        let (slow_calls, calls) = match self {
            Self::Calls(last) => {
                last.count(generation, slow);
                if !slow {
                    return false;
                }
                last.counted(generation)
            }
            Self::Time(buckets) => {
                let now = now();
                buckets.add(generation, now, slow);
                if !slow {
                    return false;
                }
                buckets.sum(generation, now)
            }
        };
        limit.is_reached(slow_calls, calls)
    }

    /// Whether a call that isn't slow leaves the window as it is.
    #[inline]
    pub(super) fn is_unchanged_by_quick_call(&self) -> bool {
        match self {
            Self::Calls(last) => last.is_unchanged_by_quick_call(),
            Self::Time(_) => false,
        }
    }

    /// The slow calls in the window, and all calls in it.
    pub(super) fn counted(&self, generation: Generation, now: Nanos) -> (u32, u32) {
        match self {
            Self::Calls(last) => last.counted(generation),
            Self::Time(buckets) => buckets.sum(generation, now),
        }
    }

    /// Starts a generation. Called under the lock, before the circuit's own word is published.
    pub(super) fn renew(&self, turn: u64, generation: Generation) {
        if let Self::Calls(last) = self {
            last.renew(turn, generation);
        }
    }
}

#[derive(Debug)]
pub(super) struct LastCalls {
    /// A [`Word`] whose phase means nothing. Its generation is the circuit's latest, or one that lasts no longer.
    word: AtomicU64,
    ring: Ring,
}

impl LastCalls {
    fn new(calls: u32, generation: Generation) -> Self {
        let word = Word::new(Phase::Closed, generation);
        Self { word: AtomicU64::new(word.bits()), ring: Ring::new(calls, generation) }
    }

    fn count(&self, generation: Generation, slow: bool) {
        if !slow && self.is_unchanged_by_quick_call() {
            return;
        }
        if let Some(delta) = self.exchange(generation, slow)
            && delta != 0
        {
            self.update(generation, |word| word.plus(delta));
        }
    }

    /// As with failures: a quick call in the place of a quick call needs no write.
    #[inline]
    fn is_unchanged_by_quick_call(&self) -> bool {
        let word = self.load();
        word.count() == 0 && word.is_full()
    }

    /// Nothing where another generation has begun.
    fn counted(&self, generation: Generation) -> (u32, u32) {
        let word = self.load();
        if word.generation() != generation {
            return (0, 0);
        }
        (failures(word), if word.is_full() { self.ring.len() } else { word.position() })
    }

    fn renew(&self, turn: u64, generation: Generation) {
        self.ring.renew(turn, generation);
        self.word.swap(Word::new(Phase::Closed, generation).bits(), Ordering::AcqRel);
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
