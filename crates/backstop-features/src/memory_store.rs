//! A store in memory.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_core::Name;
use bytes::Bytes;
use tokio::time::Instant;

use crate::{CountReport, CountStore, FlagStore, FleetVerdict, StoreError, StoredValue, fleet_window::FleetWindow};

/// Flags and counts in memory: for tests, and for several registries in one process. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    version: u64,
    flags: HashMap<Name, (Bytes, Option<Instant>)>,
    windows: HashMap<Name, FleetWindow>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything, like a server that restarts without its data.
    pub fn clear(&self) {
        *self.contents() = Contents::default();
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FlagStore for MemoryStore {
    async fn version(&self) -> Result<Option<Bytes>, StoreError> {
        let version = self.contents().version;
        Ok((version > 0).then(|| Bytes::copy_from_slice(&version.to_be_bytes())))
    }

    async fn read(&self, features: &[Name]) -> Result<Vec<StoredValue>, StoreError> {
        let (now, contents) = (Instant::now(), self.contents());
        let read = |name| match contents.flags.get(name) {
            Some((_, Some(until))) if *until <= now => StoredValue::Missing,
            Some((bytes, until)) => {
                StoredValue::Value { bytes: bytes.clone(), ttl: until.map(|until| until.duration_since(now)) }
            }
            None => StoredValue::Missing,
        };
        Ok(features.iter().map(read).collect())
    }

    async fn write(&self, feature: &Name, value: Bytes, ttl: Option<Duration>) -> Result<(), StoreError> {
        let mut contents = self.contents();
        contents.flags.insert(feature.clone(), (value, ttl.map(|ttl| Instant::now() + ttl)));
        contents.version += 1;
        Ok(())
    }
}

impl CountStore for MemoryStore {
    async fn report(&self, instance: &str, reports: &[CountReport]) -> Result<Vec<FleetVerdict>, StoreError> {
        let (now, mut contents) = (Instant::now(), self.contents());
        let mut add = |report: &CountReport| {
            contents.windows.entry(report.feature.clone()).or_default().report(now, instance, report)
        };
        Ok(reports.iter().map(&mut add).collect())
    }
}
