//! The slow calls in a window.
//!
//! Failures and slow calls share a window. If it is the last N calls, they share its ring. The number of slow calls is in
//! another word, because the circuit's has no room for it. So the slow call that trips is counted first. Then it opens the
//! circuit under the lock, if the generation hasn't ended and the share is still reached.

use super::{
    Nanos,
    buckets::Buckets,
    packed_state::{Generation, PackedState, Phase},
    sync::{AtomicU64, Ordering},
};

#[derive(Debug)]
pub(super) enum SlowCalls {
    /// The number of slow calls in the ring.
    LastCalls(SlowCount),
    LastTime(Box<Buckets>),
}

impl SlowCalls {
    /// Whether a call that isn't slow changes nothing, if the ring is full.
    #[inline]
    pub(super) fn is_unchanged_by_quick_call(&self) -> bool {
        match self {
            Self::LastCalls(count) => count.load().count() == 0,
            Self::LastTime(_) => false,
        }
    }

    /// Counts a call in a time window.
    pub(super) fn add_by_time(&self, generation: Generation, slow: bool, now: impl Fn() -> Nanos) {
        if let Self::LastTime(buckets) = self {
            buckets.add(generation, now(), slow);
        }
    }

    /// Starts a generation. Called under the lock, before the circuit's own word is published.
    pub(super) fn renew(&self, generation: Generation) {
        if let Self::LastCalls(SlowCount(word)) = self {
            word.swap(PackedState::new(Phase::Closed, generation).bits(), Ordering::AcqRel);
        }
    }
}

/// A [`PackedState`] of which only the count and the generation are used. The generation is the circuit's current one, or one
/// that has ended.
#[derive(Debug)]
pub(super) struct SlowCount(AtomicU64);

impl SlowCount {
    pub(super) fn new(generation: Generation) -> Self {
        Self(AtomicU64::new(PackedState::new(Phase::Closed, generation).bits()))
    }

    /// The slow calls of `generation`. Zero if another generation has begun.
    pub(super) fn of(&self, generation: Generation) -> u32 {
        let word = self.load();
        if word.generation() == generation { word.failures() } else { 0 }
    }

    pub(super) fn add(&self, generation: Generation, delta: i32) {
        let mut word = self.load();
        while delta != 0 && word.generation() == generation {
            let next = word.plus(delta).bits();
            match self.0.compare_exchange_weak(word.bits(), next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(seen) => word = PackedState::from_bits(seen),
            }
        }
    }

    fn load(&self) -> PackedState {
        PackedState::from_bits(self.0.load(Ordering::Acquire))
    }
}
