//! A bounded map in shards. A shard is locked for one lookup at a time.
//!
//! To make room, values are evicted, but only if nobody else holds them, because a holder may still change a value. Under the
//! shard's lock, no new holder can appear.
//!
//! A call that needs room checks a bounded number of places, and the next one continues from there. So no call waits for a
//! check of all keys.

use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;
use tokio::time::{Duration, Instant};

use crate::state::sync::{AtomicU64, BuildKeyHasher, Mutex, MutexGuard, Ordering::Relaxed, PoisonError};

const SHARDS: usize = if cfg!(backstop_loom) { 1 } else { 16 };

/// How many places of the tables are checked to make room for one key. Takes some microseconds.
const PLACES: usize = 256;

/// How long to pause after a round that made no room, so that a storm of new keys doesn't check all places again and again.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

pub(super) struct Shards<K, P> {
    shards: [Mutex<HashTable<(K, P)>>; SHARDS],
    hasher: BuildKeyHasher,
    max_keys: u64,
    /// The number of keys. Increased before one is inserted, and decreased after one was removed.
    len: AtomicU64,
    sweep: Mutex<Sweep>,
}

/// The position in a round over all places, which the next sweep continues.
#[derive(Debug, Default)]
struct Sweep {
    shard: usize,
    place: usize,
    /// Whether this round has made room.
    made_room: bool,
    /// The end of the pause.
    paused_until: Option<Instant>,
}

/// A shared pointer.
pub(super) trait Pointer: Clone {
    type Value: Evictable;

    /// The value, if nobody else holds it.
    fn get_exclusive(&mut self) -> Option<&Self::Value>;
}

pub(super) trait Evictable {
    /// Whether dropping it loses nothing of value.
    fn is_evictable(&self) -> bool;
}

/// Each shard once, starting at `first`.
pub(super) fn indexes_from(first: usize) -> impl Iterator<Item = usize> {
    (0..SHARDS).map(move |next| (first + next) % SHARDS)
}

impl<K, P> Shards<K, P> {
    pub(super) fn new(max_keys: u32) -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::new(HashTable::new())),
            hasher: BuildKeyHasher::default(),
            max_keys: max_keys.into(),
            len: AtomicU64::new(0),
            sweep: Mutex::new(Sweep::default()),
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

    pub(super) fn for_each_in(&self, shard: usize, mut look: impl FnMut(&K, &P)) {
        if let Some(shard) = self.shards.get(shard) {
            lock(shard).iter().for_each(|(key, value)| look(key, value));
        }
    }

    /// Reserves room for one key. `false` if there is none.
    fn reserve(&self) -> bool {
        self.len.fetch_update(Relaxed, Relaxed, |len| (len < self.max_keys).then_some(len + 1)).is_ok()
    }
}

impl<K, P: Pointer> Shards<K, P> {
    /// Checks the next [`PLACES`], and drops evictable values. Returns whether that made room.
    fn sweep(&self) -> bool {
        let mut sweep = lock(&self.sweep);
        if sweep.paused_until.is_some_and(|until| Instant::now() < until) {
            return false;
        }
        sweep.paused_until = None;
        let (mut left, mut made_room) = (PLACES, false);
        // At most one round, and the rest of the first shard.
        for _ in 0..=SHARDS {
            let Some(shard) = self.shards.get(sweep.shard) else { break };
            let mut shard = lock(shard);
            let places = shard.num_buckets();
            while left > 0 && sweep.place < places {
                left -= 1;
                let is_evictable = shard
                    .get_bucket_mut(sweep.place)
                    .is_some_and(|(_, value)| value.get_exclusive().is_some_and(Evictable::is_evictable));
                if is_evictable && let Ok(entry) = shard.get_bucket_entry(sweep.place) {
                    drop(entry.remove());
                    self.len.fetch_sub(1, Relaxed);
                    made_room = true;
                }
                sweep.place += 1;
            }
            if sweep.place < places {
                break;
            }
            drop(shard);
            (sweep.shard, sweep.place) = ((sweep.shard + 1) % SHARDS, 0);
            if sweep.shard == 0 && !std::mem::take(&mut sweep.made_room) && !made_room {
                sweep.paused_until = Some(Instant::now() + SWEEP_PAUSE);
                break;
            }
        }
        sweep.made_room |= made_room;
        made_room
    }
}

impl<K: Eq + Hash, P: Pointer> Shards<K, P> {
    /// The hash of a key, and its shard.
    fn place(&self, key: &K) -> (u64, usize) {
        let hash = self.hasher.hash_one(key);
        // The table uses the lowest bits for its buckets, and the highest for its tags.
        (hash, (hash >> 32) as usize % SHARDS)
    }

    pub(super) fn find(&self, key: &K) -> Option<P> {
        let (hash, shard) = self.place(key);
        lock(self.shards.get(shard)?).find(hash, |(other, _)| other == key).map(|(_, value)| value.clone())
    }

    /// The value of a key. If there is none, `make` makes it. `None` if there is no room.
    pub(super) fn find_or_make(&self, key: K, make: impl FnOnce(&K) -> P) -> Option<P> {
        let (hash, index) = self.place(&key);
        let shard = self.shards.get(index)?;
        if let Some((_, found)) = lock(shard).find(hash, |(other, _)| *other == key) {
            return Some(found.clone());
        }
        let has_room = self.reserve() || (self.sweep() && self.reserve());
        if !has_room {
            return None;
        }
        // Made outside the lock. If another call inserts the same key meanwhile, this value is dropped.
        let made = make(&key);
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

    impl Evictable for Failures {
        fn is_evictable(&self) -> bool {
            self.0.load(Relaxed) == 0
        }
    }

    impl Pointer for Arc<Failures> {
        type Value = Failures;

        fn get_exclusive(&mut self) -> Option<&Failures> {
            Self::get_mut(self).map(|failures| &*failures)
        }
    }

    fn fail(shards: &Shards<u32, Arc<Failures>>, key: u32) -> bool {
        let found = shards.find_or_make(key, |_| Arc::default());
        found.is_some_and(|failures| failures.0.fetch_add(1, Relaxed) == 0)
    }

    #[test]
    fn no_failure_goes_with_what_makes_room() {
        loom::model(|| {
            let shards = Arc::new(Shards::new(1));
            drop(shards.find_or_make(1, |_| Arc::default()));
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

    /// Failures that mean nothing any more, and those that do.
    #[derive(Default)]
    struct Aged {
        old: AtomicU64,
        new: AtomicU64,
    }

    impl Evictable for Aged {
        fn is_evictable(&self) -> bool {
            self.new.load(Relaxed) == 0
        }
    }

    impl Pointer for Arc<Aged> {
        type Value = Aged;

        fn get_exclusive(&mut self) -> Option<&Aged> {
            Self::get_mut(self).map(|aged| &*aged)
        }
    }

    #[test]
    fn a_failure_that_comes_while_old_ones_make_room_is_not_lost() {
        fn fail(shards: &Shards<u32, Arc<Aged>>, key: u32) -> bool {
            shards.find_or_make(key, |_| Arc::default()).is_some_and(|aged| aged.new.fetch_add(1, Relaxed) == 0)
        }
        loom::model(|| {
            let shards = Arc::new(Shards::new(1));
            shards.find_or_make(1, |_| Arc::<Aged>::default()).unwrap().old.fetch_add(1, Relaxed);
            let other = {
                let shards = Arc::clone(&shards);
                thread::spawn(move || fail(&shards, 2))
            };
            let first = fail(&shards, 1);
            let second = other.join().unwrap();
            // Either the old failure made room, or there was a new one beside it.
            let counted = |key| shards.find(&key).map_or(0, |aged| aged.new.load(Relaxed));
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

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Counts how often it was looked at.
    #[derive(Default)]
    struct Counting {
        is_evictable: bool,
        looks: Arc<AtomicU64>,
    }

    impl Evictable for Counting {
        fn is_evictable(&self) -> bool {
            self.looks.fetch_add(1, Relaxed);
            self.is_evictable
        }
    }

    impl Pointer for Arc<Counting> {
        type Value = Counting;

        fn get_exclusive(&mut self) -> Option<&Counting> {
            Self::get_mut(self).map(|counting| &*counting)
        }
    }

    const KEYS: u32 = 100_000;

    /// A full table. `is_evictable` says which keys may be dropped.
    fn full(is_evictable: impl Fn(u32) -> bool) -> (Shards<u32, Arc<Counting>>, Arc<AtomicU64>) {
        let (shards, looks) = (Shards::new(KEYS), Arc::<AtomicU64>::default());
        for key in 0..KEYS {
            let make = |_: &u32| Arc::new(Counting { is_evictable: is_evictable(key), looks: Arc::clone(&looks) });
            assert!(shards.find_or_make(key, make).is_some());
        }
        (shards, looks)
    }

    fn looks_for_one_more(shards: &Shards<u32, Arc<Counting>>, looks: &AtomicU64, key: u32) -> (bool, u64) {
        let before = looks.load(Relaxed);
        let has_room = shards.find_or_make(key, |_| Arc::default()).is_some();
        (has_room, looks.load(Relaxed) - before)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_looks_at_a_bounded_number_of_keys_however_many_there_are() {
        let (shards, looks) = full(|_| false);
        let mut pauses = 0;
        for key in KEYS..KEYS + 2_000 {
            let (has_room, looked_at) = looks_for_one_more(&shards, &looks, key);
            assert!(!has_room && looked_at <= PLACES as u64, "{looked_at}");
            pauses += u64::from(looked_at == 0);
        }
        // One round looked at each key once. Then nothing was looked at for a while.
        assert_eq!(looks.load(Relaxed), u64::from(KEYS));
        assert!(pauses > 1_000, "{pauses}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_only_spare_key_of_many_is_found_by_calls_that_each_look_at_a_few() {
        let (shards, looks) = full(|key| key == 77_777);
        let mut calls = 0;
        while !looks_for_one_more(&shards, &looks, KEYS).0 {
            calls += 1;
            assert!(calls < 1_000);
        }
        assert!(shards.find(&77_777).is_none() && shards.find(&KEYS).is_some());
        assert_eq!(shards.len(), KEYS as usize);
    }
}
