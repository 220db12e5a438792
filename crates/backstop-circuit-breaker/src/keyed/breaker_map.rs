//! The circuits by their keys, and their shared state.

use std::{
    fmt,
    hash::Hash,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use backstop_core::Name;
use backstop_kit::{ErrorText, log_text};

use super::shards::{Evictable, Pointer, Shards};
use crate::{
    CircuitMode, CircuitState,
    breaker::{Breaker, HasBreaker},
    circuit_group::CircuitGroup,
    config::Settings,
    layer_state::CircuitRef,
    telemetry,
};

pub(crate) struct BreakerMap<K, P> {
    group: Arc<CircuitGroup>,
    protocol: Arc<P>,
    settings: Mutex<Arc<Settings>>,
    circuits: Shards<K, Arc<KeyedBreaker<P>>>,
    /// How many calls were let through without a circuit.
    unguarded: AtomicU64,
    /// Writes a key for events.
    key_text: OnceLock<Box<KeyText<K>>>,
}

type KeyText<K> = dyn Fn(&K) -> String + Send + Sync;

/// The circuit of a key. Small: there may be millions.
#[derive(Debug)]
#[expect(unnameable_types, reason = "only this crate names it")]
pub struct KeyedBreaker<P> {
    breaker: Breaker,
    protocol: Arc<P>,
}

impl<K, P> BreakerMap<K, P> {
    pub(crate) fn new(name: Name, settings: Settings, max_keys: u32, error_text: ErrorText, protocol: P) -> Self {
        Self {
            group: Arc::new(CircuitGroup::new(name, &settings, error_text, true)),
            protocol: Arc::new(protocol),
            settings: Mutex::new(Arc::new(settings)),
            circuits: Shards::new(max_keys),
            unguarded: AtomicU64::new(0),
            key_text: OnceLock::new(),
        }
    }

    /// Shows the keys of circuits that are made from now on.
    pub(crate) fn show_keys(&self, text: impl Fn(&K) -> String + Send + Sync + 'static) {
        _ = self.key_text.set(Box::new(text));
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", self.group.name()).field("keys", &self.circuits.len()).finish_non_exhaustive()
    }

    fn settings(&self) -> MutexGuard<'_, Arc<Settings>> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a call that is let through without a circuit, because there was no room for its key.
    fn count_unguarded(&self) {
        telemetry::unguarded(&self.group);
        self.unguarded.fetch_add(1, Relaxed);
    }
}

/// The circuits without the type of their strategies, so that a handle needn't name it.
pub(crate) trait Circuits<K>: Send + Sync {
    fn group(&self) -> &CircuitGroup;

    fn len(&self) -> usize;

    /// How many calls were let through without a circuit.
    fn unguarded(&self) -> u64;

    /// Reloads the settings of all existing and future circuits.
    fn reload(&self, settings: Settings);

    /// Changes the mode of all existing and future circuits.
    fn set_mode(&self, mode: CircuitMode);

    fn find(&self, key: &K) -> Option<Arc<dyn HasBreaker>>
    where
        K: Eq + Hash;

    /// `None` if there is no room for it.
    fn find_or_make(&self, key: K) -> Option<Arc<dyn HasBreaker>>
    where
        K: Eq + Hash;

    fn shows_keys(&self) -> bool;

    /// The circuit whose events show this key, if there is exactly one.
    fn find_shown(&self, key: &str) -> Option<Arc<dyn HasBreaker>>;

    fn all(&self) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone;

    /// At most `most` circuits of a shard that are open, half-open or recovering.
    fn open_in(&self, shard: usize, most: usize) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone;
}

impl<K: Send, P: Send + Sync + 'static> Circuits<K> for BreakerMap<K, P> {
    fn group(&self) -> &CircuitGroup {
        &self.group
    }

    fn len(&self) -> usize {
        self.circuits.len()
    }

    fn unguarded(&self) -> u64 {
        self.unguarded.load(Relaxed)
    }

    fn reload(&self, settings: Settings) {
        let settings = Arc::new(settings);
        self.group.reload(&settings, || {
            *self.settings() = Arc::clone(&settings);
            self.circuits.for_each(|_, breaker| breaker.breaker.circuit.reload(&settings.circuit));
        });
    }

    fn set_mode(&self, mode: CircuitMode) {
        self.group.set_mode(mode, |settings| {
            *self.settings() = Arc::new(settings.clone());
            self.circuits.for_each(|_, breaker| breaker.breaker.circuit.set_mode(mode));
        });
    }

    fn find(&self, key: &K) -> Option<Arc<dyn HasBreaker>>
    where
        K: Eq + Hash,
    {
        Some(self.circuits.find(key)?)
    }

    fn find_or_make(&self, key: K) -> Option<Arc<dyn HasBreaker>>
    where
        K: Eq + Hash,
    {
        Some(self.circuit(key)?)
    }

    fn shows_keys(&self) -> bool {
        self.key_text.get().is_some()
    }

    fn find_shown(&self, key: &str) -> Option<Arc<dyn HasBreaker>> {
        let mut found: Vec<Arc<dyn HasBreaker>> = Vec::new();
        self.circuits.for_each(|_, breaker| {
            if breaker.breaker.circuit.listeners().key() == Some(key) {
                found.push(Arc::clone(breaker) as _);
            }
        });
        // Two keys may be shown by the same text.
        if found.len() == 1 { found.pop() } else { None }
    }

    fn all(&self) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone,
    {
        let mut all: Vec<(K, Arc<dyn HasBreaker>)> = Vec::with_capacity(self.circuits.len());
        self.circuits.for_each(|key, breaker| all.push((key.clone(), Arc::clone(breaker) as _)));
        all
    }

    fn open_in(&self, shard: usize, most: usize) -> Vec<(K, Arc<dyn HasBreaker>)>
    where
        K: Clone,
    {
        let mut open: Vec<(K, Arc<dyn HasBreaker>)> = Vec::new();
        self.circuits.for_each_in(shard, |key, breaker| {
            let state = breaker.breaker.circuit.state();
            let is_open = matches!(state, CircuitState::Open | CircuitState::HalfOpen | CircuitState::Recovering);
            if is_open && open.len() < most {
                open.push((key.clone(), Arc::clone(breaker) as _));
            }
        });
        open
    }
}

impl<K: Eq + Hash, P> BreakerMap<K, P> {
    /// The circuit of a key, or `None` if there is no room for it.
    pub(crate) fn circuit(&self, key: K) -> Option<Arc<KeyedBreaker<P>>> {
        let mut made_by = None;
        let circuit = self.circuits.find_or_make(key, |key| {
            let settings = Arc::clone(&*self.settings());
            let breaker = Breaker::new(Arc::clone(&self.group), &settings.circuit);
            if let Some(text) = self.key_text.get() {
                breaker.circuit.listeners().set_key(log_text(&text(key)));
            }
            made_by = Some(settings);
            Arc::new(KeyedBreaker { breaker, protocol: Arc::clone(&self.protocol) })
        });
        let Some(circuit) = circuit else {
            self.count_unguarded();
            return None;
        };
        // A reload first sets the settings, then visits the circuits. So either it visits this circuit, or its settings
        // are visible here.
        if let Some(settings) = made_by {
            let latest = Arc::clone(&*self.settings());
            if !Arc::ptr_eq(&settings, &latest) {
                circuit.breaker.circuit.reload(&latest.circuit);
            }
        }
        Some(circuit)
    }
}

impl<P> Pointer for Arc<KeyedBreaker<P>> {
    type Value = KeyedBreaker<P>;

    fn get_exclusive(&mut self) -> Option<&KeyedBreaker<P>> {
        Self::get_mut(self).map(|breaker| &*breaker)
    }
}

impl<P> Evictable for KeyedBreaker<P> {
    fn is_evictable(&self) -> bool {
        self.breaker.is_evictable()
    }
}

impl<P: Send + Sync> HasBreaker for KeyedBreaker<P> {
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }
}

impl<P> CircuitRef<P> for Arc<KeyedBreaker<P>> {
    fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    fn protocol(&self) -> &P {
        &self.protocol
    }
}

impl<K, P> fmt::Debug for BreakerMap<K, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f.debug_struct("BreakerMap"))
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use backstop_kit::Http;

    use super::*;

    #[test]
    fn a_circuit_that_never_opened_takes_64_bytes() {
        let reference_counts = 2 * size_of::<usize>();
        assert!(reference_counts + size_of::<KeyedBreaker<Http>>() <= 64);
    }
}
