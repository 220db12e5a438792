//! What was removed of late, as this process must remember it.
//!
//! A read that began before a removal must not store its answer after it, and what a store failed to remove must not be
//! served. So removals are numbered, and each target's last one is remembered: exactly, for as many targets as there is
//! room for. What made room for others counts for every target from then on.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::age::Moment;

/// Two generations of this many targets are remembered. When the younger one is full, the older one makes room.
const GENERATION: usize = 4096;

/// How many removals there were when a request began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// The hash of a key: that of a target, of what is stored of one for an owner, or of one variant of that.
///
/// It is seeded in each process, so that nobody can choose targets that share one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TargetId(u64);

#[derive(Default)]
pub(crate) struct Removals {
    hasher: RandomState,
    /// How many there were, so that where there was none the lock isn't taken.
    count: AtomicU64,
    /// When one last failed, as a [`Moment`], for the same reason.
    failed: AtomicU64,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    young: HashMap<u64, Removal>,
    old: HashMap<u64, Removal>,
    /// What counts for every target.
    of_all: Removal,
}

/// A target's last removal.
#[derive(Clone, Copy, Default)]
struct Removal {
    number: u64,
    /// When one last failed, as a [`Moment`]; 0 for never.
    failed: u64,
}

impl Removals {
    pub(crate) fn target(&self, key: &[u8]) -> TargetId {
        TargetId(self.hasher.hash_one(key))
    }

    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.count.load(Ordering::SeqCst))
    }

    /// To be called before these targets are removed.
    pub(crate) fn count(&self, targets: &[TargetId]) {
        let mut recent = self.recent();
        let number = self.next(&recent);
        targets.iter().for_each(|target| recent.removal(*target).number = number);
    }

    /// To be called before everything is removed.
    pub(crate) fn count_all(&self) {
        let mut recent = self.recent();
        recent.of_all.number = self.next(&recent);
    }

    /// Under the lock: a reader that sees the new number then finds its targets.
    fn next(&self, _: &MutexGuard<'_, Recent>) -> u64 {
        self.count.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// These targets could not be removed.
    pub(crate) fn fail(&self, targets: &[TargetId], at: Moment) {
        let mut recent = self.recent();
        for target in targets {
            let removal = recent.removal(*target);
            removal.failed = removal.failed.max(at.0);
        }
        self.failed.fetch_max(at.0, Ordering::SeqCst);
    }

    /// Whether any of these was removed since then.
    pub(crate) fn any_since<const N: usize>(&self, begun: Epoch, targets: impl FnOnce() -> [TargetId; N]) -> bool {
        self.epoch() != begun && self.last_of(targets).iter().any(|last| last.number > begun.0)
    }

    /// Whether what was made then of any of these should have been removed since.
    pub(crate) fn should_be_gone<const N: usize>(&self, made: Moment, targets: impl FnOnce() -> [TargetId; N]) -> bool {
        made.0 <= self.failed.load(Ordering::SeqCst) && self.last_of(targets).iter().any(|last| made.0 <= last.failed)
    }

    fn last_of<const N: usize>(&self, targets: impl FnOnce() -> [TargetId; N]) -> [Removal; N] {
        let targets = targets();
        let recent = self.recent();
        targets.map(|target| recent.last(target))
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// The last removal of a target, to be changed.
    fn removal(&mut self, TargetId(target): TargetId) -> &mut Removal {
        if self.young.len() >= GENERATION && !self.young.contains_key(&target) {
            let made_room = mem::replace(&mut self.old, mem::take(&mut self.young));
            self.of_all = made_room.into_values().fold(self.of_all, Removal::later);
        }
        let former = self.old.remove(&target);
        self.young.entry(target).or_insert_with(|| former.unwrap_or_default())
    }

    fn last(&self, TargetId(target): TargetId) -> Removal {
        let of_it = self.young.get(&target).or_else(|| self.old.get(&target));
        self.of_all.later(of_it.copied().unwrap_or_default())
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
        removals.count(&[removals.target(one)]);
        removals.fail(&[removals.target(one)], Moment(7));
        for other in siblings() {
            assert_eq!(removals.any_since(begun, || [removals.target(&other)]), other == one);
            assert_eq!(removals.should_be_gone(Moment(7), || [removals.target(&other)]), other == one);
            assert!(!removals.any_since(removals.epoch(), || [removals.target(&other)]));
            assert!(!removals.should_be_gone(Moment(8), || [removals.target(&other)]));
        }
    }

    #[test]
    fn targets_that_are_alike_spread_evenly_and_otherwise_in_each_process() {
        let (one, other) = (Removals::default(), Removals::default());
        for shift in (0..60).step_by(6).chain([58]) {
            let mut counts = [0_u32; 64];
            siblings().for_each(|key| counts[(one.target(&key).0 >> shift) as usize % 64] += 1);
            // 10.6 in each on average; that chance puts 50 into one is less likely than 1 in 10^15.
            assert!(counts.iter().all(|count| *count < 50), "{shift}: {counts:?}");
        }
        assert!(siblings().all(|key| one.target(&key) != other.target(&key)));
    }

    #[test]
    fn all_is_of_every_target() {
        let removals = Removals::default();
        let begun = removals.epoch();
        removals.count_all();
        assert!(removals.any_since(begun, || [removals.target(b"/a")]));
        assert!(!removals.any_since(removals.epoch(), || [removals.target(b"/a")]));
    }

    #[test]
    fn what_makes_room_counts_for_every_target() {
        let removals = Removals::default();
        let key = |i: usize| i.to_le_bytes();
        let remove = |keys: std::ops::Range<usize>| keys.for_each(|i| removals.count(&[removals.target(&key(i))]));
        let begun = removals.epoch();
        removals.fail(&[removals.target(&key(0))], Moment(7));
        remove(0..2 * GENERATION);
        assert!(
            !removals.any_since(begun, || [removals.target(b"other")]),
            "as long as there is room each is of its own target"
        );
        assert!(!removals.should_be_gone(Moment(7), || [removals.target(b"other")]));
        let later = removals.epoch();
        remove(2 * GENERATION..2 * GENERATION + 1);
        assert!(
            removals.any_since(begun, || [removals.target(b"other")])
                && removals.should_be_gone(Moment(7), || [removals.target(b"other")])
        );
        assert!(
            !removals.any_since(later, || [removals.target(b"other")])
                && !removals.should_be_gone(Moment(8), || [removals.target(b"other")])
        );
        for i in [0, GENERATION, 2 * GENERATION] {
            assert!(removals.any_since(begun, || [removals.target(&key(i))]), "{i}");
        }
        let recent = removals.recent();
        assert!(recent.young.len() + recent.old.len() <= 2 * GENERATION);
    }
}
