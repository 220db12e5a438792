//! The latest removals of this process.
//!
//! A read that began before a removal must not store its answer afterwards, and an answer that the store failed to remove must
//! not be served. So removals are numbered, and the last removal of each key is remembered, for a bounded number of keys. A
//! removal that is dropped for lack of room counts for every key from then on.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::age::Timestamp;

/// Two generations of this many keys are remembered. When the younger one is full, the older one is dropped.
const GENERATION: usize = 4096;

/// The number of removals before a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// The hash of a key: of a target, of one owner's part of it, or of one variant of that part.
///
/// The hash is seeded per process, so nobody can choose targets whose hashes collide.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeyHash(u64);

#[derive(Default)]
pub(crate) struct Removals {
    hasher: RandomState,
    /// The number of removals. If it hasn't changed, no lock is taken.
    count: AtomicU64,
    /// When a removal last failed, as a [`Timestamp`], for the same reason.
    failed: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    young: HashMap<u64, Removal>,
    old: HashMap<u64, Removal>,
    /// The last removal that counts for every key.
    for_all: Removal,
}

/// A key's last removal.
#[derive(Clone, Copy, Default)]
struct Removal {
    number: u64,
    /// When a removal last failed, as a [`Timestamp`]; 0 for never.
    failed: u64,
}

impl Removals {
    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        KeyHash(self.hasher.hash_one(key))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.count.load(Ordering::SeqCst))
    }

    /// Call this before the removal is carried out.
    pub(crate) fn record(&self, hashes: &[KeyHash]) {
        let mut recent = self.recent();
        let number = self.next(&recent);
        hashes.iter().for_each(|hash| recent.removal(*hash).number = number);
    }

    /// Call this before everything is removed. `at` is given if a store outside the process may keep what was made before.
    pub(crate) fn record_all(&self, at: Option<Timestamp>) {
        let mut recent = self.recent();
        recent.for_all.number = self.next(&recent);
        if let Some(at) = at {
            recent.for_all.failed = recent.for_all.failed.max(at.0);
            self.failed.fetch_max(at.0, Ordering::SeqCst);
        }
    }

    /// Called under the lock, so that a reader that sees the new number also finds its keys.
    fn next(&self, _: &MutexGuard<'_, Recent>) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The removal of these keys failed.
    pub(crate) fn record_failure(&self, hashes: &[KeyHash], at: Timestamp) {
        let mut recent = self.recent();
        for hash in hashes {
            let removal = recent.removal(*hash);
            removal.failed = removal.failed.max(at.0);
        }
        self.failed.fetch_max(at.0, Ordering::SeqCst);
    }

    /// Whether any of these keys was removed since `began`.
    pub(crate) fn removed_since<const N: usize>(&self, begun: Epoch, hashes: impl FnOnce() -> [KeyHash; N]) -> bool {
        self.epoch() != begun && self.last_of(hashes).iter().any(|last| last.number > begun.0)
    }

    /// Whether the removal of any of these keys failed after `created`.
    pub(crate) fn failed_to_remove<const N: usize>(
        &self,
        created: Timestamp,
        hashes: impl FnOnce() -> [KeyHash; N],
    ) -> bool {
        created.0 <= self.failed.load(Ordering::SeqCst)
            && self.last_of(hashes).iter().any(|last| created.0 <= last.failed)
    }

    fn last_of<const N: usize>(&self, hashes: impl FnOnce() -> [KeyHash; N]) -> [Removal; N] {
        let hashes = hashes();
        let recent = self.recent();
        hashes.map(|hash| recent.last(hash))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// A key's last removal, to be updated.
    fn removal(&mut self, KeyHash(hash): KeyHash) -> &mut Removal {
        if self.young.len() >= GENERATION && !self.young.contains_key(&hash) {
            let dropped = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.for_all = dropped.into_values().fold(self.for_all, Removal::later);
        }
        let former = self.old.remove(&hash);
        self.young.entry(hash).or_insert_with(|| former.unwrap_or_default())
    }

    fn last(&self, KeyHash(hash): KeyHash) -> Removal {
        let own = self.young.get(&hash).or_else(|| self.old.get(&hash));
        self.for_all.later(own.copied().unwrap_or_default())
    }
}

impl Removal {
    fn later(self, other: Self) -> Self {
        Self { number: self.number.max(other.number), failed: self.failed.max(other.failed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Targets whose length is a multiple of 8, and that differ in their last two characters.
    fn siblings() -> impl Iterator<Item = Vec<u8>> {
        let letters = || b'a'..=b'z';
        letters().flat_map(move |one| letters().map(move |other| [b"/items/of/one/", &[one, other][..]].concat()))
    }

    #[test]
    fn a_removal_is_of_its_target_alone() {
        let removals = Removals::default();
        let begun = removals.epoch();
        let one: &[u8] = b"/items/of/one/mm";
        assert!(one.len().is_multiple_of(8));
        removals.record(&[removals.hash(one)]);
        removals.record_failure(&[removals.hash(one)], Timestamp(7));
        for other in siblings() {
            assert_eq!(removals.removed_since(begun, || [removals.hash(&other)]), other == one);
            assert_eq!(removals.failed_to_remove(Timestamp(7), || [removals.hash(&other)]), other == one);
            assert!(!removals.removed_since(removals.epoch(), || [removals.hash(&other)]));
            assert!(!removals.failed_to_remove(Timestamp(8), || [removals.hash(&other)]));
        }
    }

    #[test]
    fn targets_that_are_alike_spread_evenly_and_otherwise_in_each_process() {
        let (one, other) = (Removals::default(), Removals::default());
        for shift in (0..60).step_by(6).chain([58]) {
            let mut counts = [0_u32; 64];
            siblings().for_each(|key| counts[(one.hash(&key).0 >> shift) as usize % 64] += 1);
            // 10.6 in each on average; that chance puts 50 into one is less likely than 1 in 10^15.
            assert!(counts.iter().all(|count| *count < 50), "{shift}: {counts:?}");
        }
        assert!(siblings().all(|key| one.hash(&key) != other.hash(&key)));
    }

    #[test]
    fn all_is_of_every_target() {
        let removals = Removals::default();
        let begun = removals.epoch();
        removals.record_all(None);
        assert!(removals.removed_since(begun, || [removals.hash(b"/a")]));
        assert!(!removals.removed_since(removals.epoch(), || [removals.hash(b"/a")]));
        assert!(!removals.failed_to_remove(Timestamp(7), || [removals.hash(b"/a")]));
        removals.record_all(Some(Timestamp(7)));
        assert!(removals.failed_to_remove(Timestamp(7), || [removals.hash(b"/a")]));
        assert!(!removals.failed_to_remove(Timestamp(8), || [removals.hash(b"/a")]));
    }

    #[test]
    fn what_makes_room_counts_for_every_target() {
        let removals = Removals::default();
        let key = |i: usize| i.to_le_bytes();
        let remove = |keys: std::ops::Range<usize>| keys.for_each(|i| removals.record(&[removals.hash(&key(i))]));
        let begun = removals.epoch();
        removals.record_failure(&[removals.hash(&key(0))], Timestamp(7));
        remove(0..2 * GENERATION);
        assert!(
            !removals.removed_since(begun, || [removals.hash(b"other")]),
            "as long as there is room each is of its own target"
        );
        assert!(!removals.failed_to_remove(Timestamp(7), || [removals.hash(b"other")]));
        let later = removals.epoch();
        remove(2 * GENERATION..2 * GENERATION + 1);
        assert!(
            removals.removed_since(begun, || [removals.hash(b"other")])
                && removals.failed_to_remove(Timestamp(7), || [removals.hash(b"other")])
        );
        assert!(
            !removals.removed_since(later, || [removals.hash(b"other")])
                && !removals.failed_to_remove(Timestamp(8), || [removals.hash(b"other")])
        );
        for i in [0, GENERATION, 2 * GENERATION] {
            assert!(removals.removed_since(begun, || [removals.hash(&key(i))]), "{i}");
        }
        let recent = removals.recent();
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
    }
}
