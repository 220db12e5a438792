//! A store in memory.

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use backstop_kit::StoreError;
use bytes::Bytes;

use crate::{
    JobId,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};

/// Jobs in memory, for tests: they are gone when the process ends. Clones share everything.
#[derive(Clone, Debug, Default)]
pub struct MemoryJobStore(Arc<Mutex<Contents>>);

#[derive(Debug, Default)]
struct Contents {
    records: HashMap<JobId, Entry>,
    keys: HashMap<[u8; 32], JobId>,
    places: BTreeSet<(Place, JobId)>,
    totals: HashMap<List, Totals>,
    version: u64,
}

#[derive(Debug)]
struct Entry {
    stored: StoredRecord,
    key: Option<[u8; 32]>,
}

impl MemoryJobStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Contents {
    fn put(&mut self, id: JobId, key: Option<[u8; 32]>, bytes: Bytes, place: Place) {
        self.version += 1;
        self.take(id);
        let totals = self.totals.entry(place.list).or_default();
        (totals.records, totals.bytes) = (totals.records + 1, totals.bytes + bytes.len() as u64);
        self.places.insert((place, id));
        let stored = StoredRecord { bytes, version: self.version, place };
        self.records.insert(id, Entry { stored, key });
    }

    fn take(&mut self, id: JobId) {
        if let Some(Entry { stored: StoredRecord { place, bytes, .. }, .. }) = self.records.remove(&id) {
            self.places.remove(&(place, id));
            let totals = self.totals.entry(place.list).or_default();
            (totals.records, totals.bytes) = (totals.records - 1, totals.bytes - bytes.len() as u64);
        }
    }

    fn totals(&self, list: List) -> Totals {
        self.totals.get(&list).copied().unwrap_or_default()
    }

    fn has(&self, id: JobId, version: u64) -> Option<&Entry> {
        self.records.get(&id).filter(|entry| entry.stored.version == version)
    }

    fn due(&self, list: List, times: RangeInclusive<u64>) -> impl Iterator<Item = JobId> {
        let first = (Place { list, due: *times.start() }, JobId::from_bytes([0; 16]));
        let last = (Place { list, due: *times.end() }, JobId::from_bytes([0xff; 16]));
        self.places.range(first..=last).map(|(_, id)| *id)
    }
}

impl JobStore for MemoryJobStore {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        let mut contents = self.contents();
        if let Some(id) = key.and_then(|key| contents.keys.get(&key)) {
            return Ok(Created::Exists(*id));
        }
        let pending = [List::Queued, List::Running].map(|list| contents.totals(list).records);
        if pending.into_iter().sum::<u64>() >= max_pending {
            return Ok(Created::Full);
        }
        if let Some(key) = key {
            contents.keys.insert(key, id);
        }
        contents.put(id, key, bytes, place);
        Ok(Created::New)
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        Ok(self.contents().records.get(&id).map(|entry| entry.stored.clone()))
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        let mut contents = self.contents();
        let Some(key) = contents.has(id, version).map(|entry| entry.key) else { return Ok(None) };
        contents.put(id, key, bytes, place);
        Ok(Some(contents.version))
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let mut contents = self.contents();
        let Some(key) = contents.has(id, version).map(|entry| entry.key) else { return Ok(false) };
        contents.take(id);
        if let Some(key) = key {
            contents.keys.remove(&key);
        }
        Ok(true)
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        Ok(self.contents().due(list, times).take(limit).collect())
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        Ok(self.contents().totals(list))
    }
}
