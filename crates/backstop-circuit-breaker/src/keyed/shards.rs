//! Values by their keys: bounded in number, in shards that are locked for as long as a lookup takes.
//!
//! To make room, values are dropped that nobody would miss. A value is looked at only when nobody else has it: whoever has
//! it may still change it, and under the shard's lock nobody can come to have it.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use tokio::time::{Duration, Instant};

use crate::state::sync::{AtomicU64, BuildKeyHasher, Mutex, MutexGuard, Ordering::Relaxed, PoisonError};

const SHARDS: usize = if cfg!(backstop_loom) { 1 } else { 16 };

/// For how long after a sweep that found nothing no other is made: a storm of new keys must not sweep at each.
const REST: Duration = Duration::from_secs(1);

pub(super) struct Shards<K, P> {
    shards: [Mutex<HashTable<(K, P)>>; SHARDS],
    hasher: BuildKeyHasher,
    max_keys: u64,
    /// How many keys there are. Raised before one is put in, and lowered after one was taken out.
    len: AtomicU64,
    sweeps_again: Mutex<Option<Instant>>,
}

/// A pointer to a value that others may have, too.
pub(super) trait Pointer: Clone {
    type Value: Spare;

    /// The value, if nobody else has it.
    fn alone(&mut self) -> Option<&Self::Value>;
}

pub(super) trait Spare {
    /// Whether nothing would be forgotten with it.
    fn is_spare(&self) -> bool;
}

impl<K, P> Shards<K, P> {
    pub(super) fn new(max_keys: u32) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashTable::new())),
            hasher: BuildKeyHasher::default(),
            max_keys: max_keys.into(),
            len: AtomicU64::new(0),
            sweeps_again: Mutex::new(None),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    pub(super) fn for_each(&self, mut look: impl FnMut(&K, &P)) {
        for shard in &self.shards {
            lock(shard).iter().for_each(|(key, value)| look(key, value));
        }
    }

    /// Takes room for one key, if there is any.
    fn reserve(&self) -> bool {
        self.len.fetch_update(Relaxed, Relaxed, |len| (len < self.max_keys).then_some(len + 1)).is_ok()
    }
}

impl<K, P: Pointer> Shards<K, P> {
    /// Drops spare values, shard by shard, until there were any.
    fn sweep(&self, first: usize) -> bool {
        let mut again = lock(&self.sweeps_again);
        if again.is_some_and(|again| Instant::now() < again) {
            return false;
        }
        let dropped = (0..SHARDS).any(|next| {
            self.shards.get((first + next) % SHARDS).is_some_and(|shard| {
                let mut shard = lock(shard);
                let before = shard.len();
                shard.retain(|(_, value)| !value.alone().is_some_and(Spare::is_spare));
                let dropped = before - shard.len();
                self.len.fetch_sub(dropped as u64, Relaxed);
                dropped > 0
            })
        });
        *again = (!dropped).then(|| Instant::now() + REST);
        dropped
    }
}

impl<K: Eq + Hash, P: Pointer> Shards<K, P> {
    /// The shard of a key, and what to look for there.
    fn place(&self, key: &K) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        // The table takes its buckets from the lowest bits, and its tags from the highest.
        (hash, (hash >> 32) as usize % SHARDS)
    }

    pub(super) fn find(&self, key: &K) -> Option<P> {
        let (hash, shard) = self.place(key);
        lock(self.shards.get(shard)?).find(hash, |(other, _)| other == key).map(|(_, value)| value.clone())
    }

    /// The value of a key, made and `put` in its place if there is none yet; `None` where there is no room for it.
    pub(super) fn find_or_make(&self, key: K, make: impl FnOnce() -> P) -> Option<P> {
        let (hash, index) = self.place(&key);
        let shard = self.shards.get(index)?;
        if let Some((_, found)) = lock(shard).find(hash, |(other, _)| *other == key) {
            return Some(found.clone());
        }
        let has_room = self.reserve() || (self.sweep(index) && self.reserve());
        if !has_room {
            return None;
        }
        // Made without the lock. Another call may put the same key in meanwhile; then this one is dropped.
        let made = make();
        let mut shard = lock(shard);
        if let Some((_, found)) = shard.find(hash, |(other, _)| *other == key) {
            self.len.fetch_sub(1, Relaxed);
            return Some(found.clone());
        }
        shard.insert_unique(hash, (key, made.clone()), |(key, _)| self.hasher.hash_one(key));
        Some(made)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, backstop_loom))]
mod interleavings {
    //! Run with those of the state machine.

    use loom::{
        sync::{Arc, atomic::AtomicU64},
        thread,
    };

    use super::*;

    /// How many failures it counted.
    #[derive(Default)]
    struct Failures(AtomicU64);

    impl Spare for Failures {
        fn is_spare(&self) -> bool {
            self.0.load(Relaxed) == 0
        }
    }

    impl Pointer for Arc<Failures> {
        type Value = Failures;

        fn alone(&mut self) -> Option<&Failures> {
            Self::get_mut(self).map(|failures| &*failures)
        }
    }

    fn fail(shards: &Shards<u32, Arc<Failures>>, key: u32) -> bool {
        let found = shards.find_or_make(key, Arc::default);
        found.is_some_and(|failures| failures.0.fetch_add(1, Relaxed) == 0)
    }

    #[test]
    fn no_failure_goes_with_what_makes_room() {
        loom::model(|| {
            let shards = Arc::new(Shards::new(1));
            drop(shards.find_or_make(1, Arc::default));
            let other = {
                let shards = Arc::clone(&shards);
                thread::spawn(move || fail(&shards, 2))
            };
            let first = fail(&shards, 1);
            let second = other.join().unwrap();
            // Whichever of the two was counted is there; the other found no room.
            let counted = |key| shards.find(&key).map_or(0, |failures| failures.0.load(Relaxed));
            assert_eq!((counted(1), counted(2)), (u64::from(first), u64::from(second)));
            assert!(shards.len() == 1 && first != second);
        });
    }

    #[test]
    fn racing_calls_of_a_new_key_share_its_value() {
        loom::model(|| {
            let shards = Arc::new(Shards::new(2));
            let other = {
                let shards = Arc::clone(&shards);
                thread::spawn(move || fail(&shards, 1))
            };
            let first = fail(&shards, 1);
            assert!(first != other.join().unwrap());
            assert_eq!(shards.find(&1).unwrap().0.load(Relaxed), 2);
            assert_eq!(shards.len(), 1);
        });
    }
}
