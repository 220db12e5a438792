//! The circuits by their keys: bounded in number, in shards that are locked for as long as a lookup takes.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::{BuildHasher, Hash},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::Name;
use tokio::time::Instant;

use crate::{breaker::Breaker, common::Common, config::Settings, layer::Shared};

const SHARDS: usize = 16;

/// For how long after a sweep that found nothing no other is made: a storm of new keys must not sweep at each.
const REST: Duration = Duration::from_secs(1);

type Circuits<K, C, J> = HashMap<K, Arc<Shared<C, J>>>;

pub(crate) struct Keyed<K, C, J> {
    common: Arc<Common>,
    settings: Mutex<Arc<Settings>>,
    classify: C,
    reject: J,
    max_keys: usize,
    shards: [Mutex<Circuits<K, C, J>>; SHARDS],
    hasher: RandomState,
    /// How many keys there are. Raised before one is put in, and lowered after one was taken out.
    len: AtomicUsize,
    /// How many calls were let through without a circuit.
    unguarded: AtomicU64,
    sweeps_again: Mutex<Option<Instant>>,
}

impl<K, C, J> Keyed<K, C, J> {
    pub(crate) fn new(name: Name, settings: Settings, max_keys: usize, classify: C, reject: J) -> Self {
        Self {
            common: Arc::new(Common::new(name, &settings, true)),
            settings: Mutex::new(Arc::new(settings)),
            classify,
            reject,
            max_keys,
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            len: AtomicUsize::new(0),
            unguarded: AtomicU64::new(0),
            sweeps_again: Mutex::new(None),
        }
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
    }

    pub(crate) fn len(&self) -> usize {
        self.len.load(Relaxed)
    }

    pub(crate) fn unguarded(&self) -> u64 {
        self.unguarded.load(Relaxed)
    }

    fn settings(&self) -> MutexGuard<'_, Arc<Settings>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all circuits, and those that are yet to come.
    pub(crate) fn reload(&self, settings: Settings) {
        let settings = Arc::new(settings);
        self.common.reload(&settings, || {
            *self.settings() = Arc::clone(&settings);
            for shard in &self.shards {
                Self::lock(shard).values().for_each(|shared| shared.breaker.circuit.reload(&settings.circuit));
            }
        });
    }

    fn lock(shard: &Mutex<Circuits<K, C, J>>) -> MutexGuard<'_, Circuits<K, C, J>> {
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for one key, if there is any.
    fn reserve(&self) -> bool {
        self.len.fetch_update(Relaxed, Relaxed, |len| (len < self.max_keys).then_some(len + 1)).is_ok()
    }

    /// Drops the circuits that are closed, clean and unused, shard by shard, until there were any.
    fn sweep(&self, first: usize) -> bool {
        let mut again = self.sweeps_again.lock().unwrap_or_else(PoisonError::into_inner);
        if again.is_some_and(|again| Instant::now() < again) {
            return false;
        }
        let dropped = (0..SHARDS).any(|next| {
            self.shards.get((first + next) % SHARDS).is_some_and(|shard| {
                let mut shard = Self::lock(shard);
                let before = shard.len();
                shard.retain(|_, shared| !is_spare(shared));
                let dropped = before - shard.len();
                self.len.fetch_sub(dropped, Relaxed);
                dropped > 0
            })
        });
        *again = (!dropped).then(|| Instant::now() + REST);
        dropped
    }
}

/// Nobody else has it, and nothing would be forgotten with it.
///
/// In this order: who else has it may still record a failure. Under the shard's lock nobody can come to have it.
fn is_spare<C, J>(shared: &mut Arc<Shared<C, J>>) -> bool {
    let alone = Arc::get_mut(shared).is_some_and(|shared| Arc::get_mut(&mut shared.breaker).is_some());
    alone && shared.breaker.is_clean()
}

impl<K: Eq + Hash, C: Clone, J: Clone> Keyed<K, C, J> {
    fn index(&self, key: &K) -> usize {
        self.hasher.hash_one(key) as usize % SHARDS
    }

    /// The circuit of a key, or `None` where there is no room for it.
    pub(crate) fn circuit(&self, key: K) -> Option<Arc<Shared<C, J>>> {
        let index = self.index(&key);
        let shard = self.shards.get(index)?;
        if let Some(found) = Self::lock(shard).get(&key) {
            return Some(Arc::clone(found));
        }
        let has_room = self.reserve() || (self.sweep(index) && self.reserve());
        if !has_room {
            self.unguarded.fetch_add(1, Relaxed);
            return None;
        }
        // Built without the lock. Another call may put the same key in meanwhile; then this one is dropped.
        let settings = Arc::clone(&*self.settings());
        let built = Arc::new(Shared {
            breaker: Arc::new(Breaker::new(Arc::clone(&self.common), &settings.circuit)),
            classify: self.classify.clone(),
            reject: self.reject.clone(),
        });
        let mut shard = Self::lock(shard);
        if let Some(found) = shard.get(&key) {
            self.len.fetch_sub(1, Relaxed);
            return Some(Arc::clone(found));
        }
        shard.insert(key, Arc::clone(&built));
        // Whoever reloads sets the settings first, and then looks into the shards: so either it finds this circuit, or its
        // settings are found here.
        let latest = Arc::clone(&*self.settings());
        if !Arc::ptr_eq(&settings, &latest) {
            built.breaker.circuit.reload(&latest.circuit);
        }
        Some(built)
    }

    pub(crate) fn find(&self, key: &K) -> Option<Arc<Breaker>> {
        let shard = self.shards.get(self.index(key))?;
        Self::lock(shard).get(key).map(|shared| Arc::clone(&shared.breaker))
    }

    pub(crate) fn all(&self) -> Vec<(K, Arc<Breaker>)>
    where
        K: Clone,
    {
        let mut all = Vec::with_capacity(self.len());
        for shard in &self.shards {
            all.extend(Self::lock(shard).iter().map(|(key, shared)| (key.clone(), Arc::clone(&shared.breaker))));
        }
        all
    }
}
