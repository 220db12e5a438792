//! The circuits by their keys, and what they have in common.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use backstop_core::{CircuitState, ErrorText, Name};

use super::shards::{Pointer, Shards, Spare};
use crate::{
    breaker::{Breaker, HasBreaker},
    common::Common,
    config::Settings,
    held::Link,
};

pub(crate) struct Keyed<K, C, J> {
    common: Arc<Common>,
    strategies: Arc<Strategies<C, J>>,
    settings: Mutex<Arc<Settings>>,
    circuits: Shards<K, Arc<OfKey<C, J>>>,
    /// How many calls were let through without a circuit.
    unguarded: AtomicU64,
}

/// The circuit of a key. Small: there may be millions.
#[derive(Debug)]
#[expect(unnameable_types, reason = "nobody else needs to name it")]
pub struct OfKey<C, J> {
    breaker: Breaker,
    strategies: Arc<Strategies<C, J>>,
}

struct Strategies<C, J> {
    classify: C,
    reject: J,
}

impl<K, C, J> Keyed<K, C, J> {
    pub(crate) fn new(
        name: Name,
        settings: Settings,
        max_keys: u32,
        error_text: ErrorText,
        (classify, reject): (C, J),
    ) -> Self {
        Self {
            common: Arc::new(Common::new(name, &settings, error_text, true)),
            strategies: Arc::new(Strategies { classify, reject }),
            settings: Mutex::new(Arc::new(settings)),
            circuits: Shards::new(max_keys),
            unguarded: AtomicU64::new(0),
        }
    }

    pub(crate) fn common(&self) -> &Common {
        &self.common
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
        self.common.reload(&settings, || {
            *self.settings() = Arc::clone(&settings);
            self.circuits.for_each(|_, of_key| of_key.breaker.circuit.reload(&settings.circuit));
        });
    }

    /// Each shard once, from the one that is asked for on.
    pub(crate) fn shards_from(&self, first: usize) -> impl Iterator<Item = usize> + use<K, C, J> {
        Shards::<K, Arc<OfKey<C, J>>>::indexes_from(first)
    }

    /// So many circuits of a shard, at most, that are open or half-open.
    pub(crate) fn open_in(&self, shard: usize, most: usize) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone,
        C: Send + Sync + 'static,
        J: Send + Sync + 'static,
    {
        let mut open: Vec<(K, Arc<dyn HasBreaker>)> = Vec::new();
        self.circuits.for_each_in(shard, |key, of_key| {
            let is_open = matches!(of_key.breaker.circuit.state(), CircuitState::Open | CircuitState::HalfOpen);
            if is_open && open.len() < most {
                open.push((key.clone(), Arc::clone(of_key) as Arc<dyn HasBreaker>));
            }
        });
        open
    }

    pub(crate) fn all(&self) -> Vec<(K, Arc<OfKey<C, J>>)>
    where
        K: Clone,
    {
        let mut all = Vec::with_capacity(self.len());
        self.circuits.for_each(|key, of_key| all.push((key.clone(), Arc::clone(of_key))));
        all
    }
}

impl<K: Eq + Hash, C, J> Keyed<K, C, J> {
    /// The circuit of a key, or `None` where there is no room for it.
    pub(crate) fn circuit(&self, key: K) -> Option<Arc<OfKey<C, J>>> {
        let mut made_by = None;
        let circuit = self.circuits.find_or_make(key, || {
            let settings = Arc::clone(&*self.settings());
            let breaker = Breaker::new(Arc::clone(&self.common), &settings.circuit);
            made_by = Some(settings);
            Arc::new(OfKey { breaker, strategies: Arc::clone(&self.strategies) })
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

    pub(crate) fn find(&self, key: &K) -> Option<Arc<OfKey<C, J>>> {
        self.circuits.find(key)
    }
}

impl<C, J> Pointer for Arc<OfKey<C, J>> {
    type Value = OfKey<C, J>;

    fn alone(&mut self) -> Option<&OfKey<C, J>> {
        Self::get_mut(self).map(|of_key| &*of_key)
    }
}

impl<C, J> Spare for OfKey<C, J> {
    fn is_spare(&self) -> bool {
        self.breaker.is_spare()
    }
}

impl<C: Send + Sync, J: Send + Sync> HasBreaker for OfKey<C, J> {
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<C, J> Link<C, J> for Arc<OfKey<C, J>> {
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

impl<C, J> fmt::Debug for Strategies<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Strategies").finish_non_exhaustive()
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use backstop_core::{HttpClassify, HttpReject};

    use super::*;

    #[test]
    fn a_circuit_that_never_opened_takes_64_bytes() {
        let reference_counts = 2 * size_of::<usize>();
        assert!(reference_counts + size_of::<OfKey<HttpClassify, HttpReject>>() <= 64);
    }
}
