//! The operator's side of the circuits.

use std::{fmt, hash::Hash, sync::Arc};

use backstop_core::{ConfigError, Name};

use super::{breaker_map::Circuits, prober::probe_keys};
use crate::{
    CircuitBreakerConfig, CircuitBreakerHandle, CircuitMode, Prober, breaker::HasBreaker, circuit_group::CircuitGroup,
};

/// Shows and controls circuits by their keys: see [`KeyedCircuitBreakerLayer::handle`](crate::KeyedCircuitBreakerLayer::handle).
///
/// All clones show the same circuits.
pub struct KeyedCircuitBreakerHandle<K> {
    circuits: Arc<dyn Circuits<K>>,
}

impl<K> KeyedCircuitBreakerHandle<K> {
    pub(super) fn new(circuits: Arc<dyn Circuits<K>>) -> Self {
        Self { circuits }
    }

    pub(crate) fn group(&self) -> &CircuitGroup {
        self.circuits.group()
    }

    /// The circuit of `key`, made if there is none; `None` if there is no room for it.
    pub(crate) fn circuit(&self, key: K) -> Option<Arc<dyn HasBreaker>>
    where
        K: Eq + Hash,
    {
        self.circuits.find_or_make(key)
    }

    /// Whether events show keys.
    pub(crate) fn shows_keys(&self) -> bool {
        self.circuits.shows_keys()
    }

    /// The circuit whose events show this key, if there is exactly one. Looks at all circuits, a sixteenth at a time.
    pub(crate) fn find_shown(&self, key: &str) -> Option<CircuitBreakerHandle> {
        Some(CircuitBreakerHandle::new(self.circuits.find_shown(key)?))
    }

    /// The layer's name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.group().name()
    }

    /// How many circuits there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.circuits.len()
    }

    /// Whether there are no circuits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many calls were let through without a circuit, because there was no room for their keys.
    #[must_use]
    pub fn unguarded(&self) -> u64 {
        self.circuits.unguarded()
    }

    /// Changes the settings of all circuits while calls run, as [`CircuitBreakerHandle::reload`] does, and of circuits
    /// made later. It visits a sixteenth of the circuits at a time. Calls for those keys wait meanwhile, some
    /// milliseconds with a million keys.
    ///
    /// # Errors
    /// As [`CircuitBreakerBuilder::build`](crate::CircuitBreakerBuilder::build), and if the name isn't the layer's.
    /// After an error the settings are unchanged.
    pub fn reload(&self, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
        self.circuits.reload(self.group().check(config)?.keyed());
        Ok(())
    }

    /// Refuses calls for all keys from now on: [`CircuitBreakerHandle::enforce`] for each circuit.
    pub fn enforce(&self) {
        self.circuits.set_mode(CircuitMode::Enforcing);
    }

    /// Refuses no call from now on: [`CircuitBreakerHandle::observe_only`] for the circuits of all keys.
    pub fn observe_only(&self) {
        self.circuits.set_mode(CircuitMode::Observing);
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &CircuitBreakerConfig) -> Result<(), ConfigError> {
        self.group().check(config.clone()).map(drop)
    }

    /// The circuit of `key`, if there is one. A circuit isn't evicted while you hold its handle.
    #[must_use]
    pub fn get(&self, key: &K) -> Option<CircuitBreakerHandle>
    where
        K: Eq + Hash,
    {
        Some(CircuitBreakerHandle::new(self.circuits.find(key)?))
    }

    /// A future that makes probe calls, so that circuits close without traffic for their keys: spawn it.
    ///
    /// As [`CircuitBreakerHandle::prober`], for the circuits of all keys. It probes at most 16 keys at once; others
    /// wait until one of those has ended. It looks for circuits due for a probe every quarter of a [wait](crate::Wait),
    /// but at least 50 ms and at most 5 s apart, and not at all while no circuit is open. It looks at all keys, a
    /// sixteenth at a time. A call for one of those keys waits meanwhile, less than a millisecond with 100,000 keys. A
    /// key that is being probed isn't evicted.
    ///
    /// It ends when the layer, its services and these handles are dropped.
    pub fn prober<F, Fut, E>(&self, probe: F) -> Prober<impl Future<Output = ()> + use<K, F, Fut, E>>
    where
        K: Clone,
        F: FnMut(K) -> Fut,
        Fut: Future<Output = Result<(), E>>,
        E: 'static,
    {
        Prober::new(probe_keys(Arc::downgrade(&self.circuits), probe))
    }

    /// All keys with their circuits, in no particular order. A circuit isn't evicted while you hold its handle.
    #[must_use]
    pub fn list(&self) -> Vec<(K, CircuitBreakerHandle)>
    where
        K: Clone,
    {
        self.circuits.all().into_iter().map(|(key, breaker)| (key, CircuitBreakerHandle::new(breaker))).collect()
    }
}

impl<K> Clone for KeyedCircuitBreakerHandle<K> {
    fn clone(&self) -> Self {
        Self::new(Arc::clone(&self.circuits))
    }
}

impl<K> fmt::Debug for KeyedCircuitBreakerHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedCircuitBreakerHandle")
            .field("name", self.name())
            .field("keys", &self.len())
            .finish_non_exhaustive()
    }
}
