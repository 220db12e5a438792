//! The circuits by their keys, and what they have in common.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use backstop_core::Name;
use backstop_kit::ErrorText;

use super::shards::{Evictable, Pointer, Shards};
use crate::{
    CircuitState,
    breaker::{Breaker, HasBreaker},
    circuit_group::CircuitGroup,
    config::Settings,
    layer_state::CircuitRef,
};

pub(crate) struct BreakerMap<K, C, J> {
    group: Arc<CircuitGroup>,
    strategies: Arc<Strategies<C, J>>,
    settings: Mutex<Arc<Settings>>,
    circuits: Shards<K, Arc<KeyedBreaker<C, J>>>,
    /// How many calls were let through without a circuit.
    unguarded: AtomicU64,
}

/// The circuit of a key. Small: there may be millions.
#[derive(Debug)]
#[expect(unnameable_types, reason = "nobody else needs to name it")]
pub struct KeyedBreaker<C, J> {
    breaker: Breaker,
    strategies: Arc<Strategies<C, J>>,
}

struct Strategies<C, J> {
    classify: C,
    reject: J,
}

impl<K, C, J> BreakerMap<K, C, J> {
    pub(crate) fn new(
        name: Name,
        settings: Settings,
        max_keys: u32,
        error_text: ErrorText,
        (classify, reject): (C, J),
    ) -> Self {
        Self {
            group: Arc::new(CircuitGroup::new(name, &settings, error_text, true)),
            strategies: Arc::new(Strategies { classify, reject }),
            settings: Mutex::new(Arc::new(settings)),
            circuits: Shards::new(max_keys),
            unguarded: AtomicU64::new(0),
        }
    }

    pub(crate) fn group(&self) -> &CircuitGroup {
        &self.group
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", self.group.name()).field("keys", &self.len()).finish_non_exhaustive()
    }

    pub(crate) fn len(&self) -> usize {
        self.circuits.len()
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
        self.group.reload(&settings, || {
            *self.settings() = Arc::clone(&settings);
            self.circuits.for_each(|_, breaker| breaker.breaker.circuit.reload(&settings.circuit));
        });
    }

    /// Each shard once, from the one that is asked for on.
    pub(crate) fn shards_from(&self, first: usize) -> impl Iterator<Item = usize> + use<K, C, J> {
        Shards::<K, Arc<KeyedBreaker<C, J>>>::indexes_from(first)
    }

    /// So many circuits of a shard, at most, that are open or half-open.
    pub(crate) fn open_in(&self, shard: usize, most: usize) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone,
        C: Send + Sync + 'static,
        J: Send + Sync + 'static,
    {
        let mut open: Vec<(K, Arc<dyn HasBreaker>)> = Vec::new();
        self.circuits.for_each_in(shard, |key, breaker| {
            let is_open = matches!(breaker.breaker.circuit.state(), CircuitState::Open | CircuitState::HalfOpen);
            if is_open && open.len() < most {
                open.push((key.clone(), Arc::clone(breaker) as Arc<dyn HasBreaker>));
            }
        });
        open
    }

    pub(crate) fn all(&self) -> Vec<(K, Arc<KeyedBreaker<C, J>>)>
    where
        K: Clone,
    {
        let mut all = Vec::with_capacity(self.len());
        self.circuits.for_each(|key, breaker| all.push((key.clone(), Arc::clone(breaker))));
        all
    }
}

impl<K: Eq + Hash, C, J> BreakerMap<K, C, J> {
    /// The circuit of a key, or `None` where there is no room for it.
    pub(crate) fn circuit(&self, key: K) -> Option<Arc<KeyedBreaker<C, J>>> {
        let mut made_by = None;
        let circuit = self.circuits.find_or_make(key, || {
            let settings = Arc::clone(&*self.settings());
            let breaker = Breaker::new(Arc::clone(&self.group), &settings.circuit);
            made_by = Some(settings);
            Arc::new(KeyedBreaker { breaker, strategies: Arc::clone(&self.strategies) })
        });
        let Some(circuit) = circuit else {
            self.unguarded.fetch_add(1, Relaxed);
            return None;
        };
        // Whoever reloads sets the settings first, and then looks for circuits: so either it finds this one, or its
        // settings are found here.
        if let Some(settings) = made_by {
            let latest = Arc::clone(&*self.settings());
            if !Arc::ptr_eq(&settings, &latest) {
                circuit.breaker.circuit.reload(&latest.circuit);
            }
        }
        Some(circuit)
    }

    pub(crate) fn find(&self, key: &K) -> Option<Arc<KeyedBreaker<C, J>>> {
        self.circuits.find(key)
    }
}

impl<C, J> Pointer for Arc<KeyedBreaker<C, J>> {
    type Value = KeyedBreaker<C, J>;

    fn get_exclusive(&mut self) -> Option<&KeyedBreaker<C, J>> {
        Self::get_mut(self).map(|breaker| &*breaker)
    }
}

impl<C, J> Evictable for KeyedBreaker<C, J> {
    fn is_evictable(&self) -> bool {
        self.breaker.is_evictable()
    }
}

impl<C: Send + Sync, J: Send + Sync> HasBreaker for KeyedBreaker<C, J> {
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<C, J> CircuitRef<C, J> for Arc<KeyedBreaker<C, J>> {
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    fn classify(&self) -> &C {
        &self.strategies.classify
    }

    fn reject(&self) -> &J {
        &self.strategies.reject
    }
}

impl<K, C, J> fmt::Debug for BreakerMap<K, C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f.debug_struct("BreakerMap"))
    }
}

impl<C, J> fmt::Debug for Strategies<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategies").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use backstop_core::HttpClassify;
    use backstop_kit::HttpReject;

    use super::*;

    #[test]
    fn a_circuit_that_never_opened_takes_64_bytes() {
        let reference_counts = 2 * size_of::<usize>();
        assert!(reference_counts + size_of::<KeyedBreaker<HttpClassify, HttpReject>>() <= 64);
    }
}
