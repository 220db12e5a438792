//! A number beside the circuit's word, which has no room for it.
//!
//! It is tagged with its generation, so that a late result doesn't count in a later one.

use super::{
    packed_state::{Generation, PackedState, Phase},
    sync::{AtomicU64, Ordering},
};

/// A [`PackedState`] of which only the count and the generation are used. The generation is the circuit's current one, or one
/// that has ended.
#[derive(Debug)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn new(generation: Generation) -> Self {
        Self(AtomicU64::new(PackedState::new(Phase::Closed, generation).bits()))
    }

    /// Whether it is zero, in whatever generation.
    #[inline]
    pub(super) fn is_zero(&self) -> bool {
        self.load().count() == 0
    }

    /// What was counted in `generation`. Zero if another generation has begun.
    pub(super) fn of(&self, generation: Generation) -> u32 {
        let word = self.load();
        if word.generation() == generation { word.failures() } else { 0 }
    }

    /// Adds to what was counted in `generation`. Returns the new number, `None` if another generation has begun.
    pub(super) fn add(&self, generation: Generation, delta: i32) -> Option<u32> {
        self.change(generation, |word| word.plus(delta))
    }

    #[inline]
    pub(super) fn clear(&self, generation: Generation) {
        if !self.is_zero() {
            self.clear_some(generation);
        }
    }

    #[cold]
    fn clear_some(&self, generation: Generation) {
        self.change(generation, PackedState::without_count);
    }

    /// Starts a generation with zero. Called under the lock, before the circuit's own word is published.
    pub(super) fn renew(&self, generation: Generation) {
        self.0.swap(PackedState::new(Phase::Closed, generation).bits(), Ordering::AcqRel);
    }

    fn change(&self, generation: Generation, change: impl Fn(PackedState) -> PackedState) -> Option<u32> {
        let mut word = self.load();
        while word.generation() == generation {
            let next = change(word);
            match self.0.compare_exchange_weak(word.bits(), next.bits(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(next.failures()),
                Err(seen) => word = PackedState::from_bits(seen),
            }
        }
        None
    }

    fn load(&self) -> PackedState {
        PackedState::from_bits(self.0.load(Ordering::Acquire))
    }
}
