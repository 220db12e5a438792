//! A store in memory.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_core::Name;
use bytes::Bytes;
use tokio::time::Instant;

use super::{StoreError, ViewStore};

/// A [`ViewStore`] in memory, for tests. Clones share it.
#[derive(Clone, Default)]
pub struct MemoryViewStore(Arc<Mutex<BTreeMap<Name, (Bytes, Instant)>>>);

impl MemoryViewStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn views(&self) -> MutexGuard<'_, BTreeMap<Name, (Bytes, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ViewStore for MemoryViewStore {
    async fn put(&self, instance: &Name, view: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.views().insert(instance.clone(), (view, Instant::now() + ttl));
        Ok(())
    }

    async fn all(&self) -> Result<Vec<(String, Bytes)>, StoreError> {
        let now = Instant::now();
        let mut views = self.views();
        views.retain(|_, (_, until)| now < *until);
        Ok(views.iter().map(|(name, (view, _))| (name.to_string(), view.clone())).collect())
    }

    async fn remove(&self, instance: &Name) -> Result<(), StoreError> {
        self.views().remove(instance);
        Ok(())
    }
}

impl fmt::Debug for MemoryViewStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryViewStore").field("instances", &self.views().len()).finish()
    }
}
