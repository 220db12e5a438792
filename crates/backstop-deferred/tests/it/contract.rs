//! The contract of stores: the one in memory keeps it, and stores with a bug don't.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use backstop_deferred::{
    JobId, MemoryJobStore, StoreError,
    store::{Created, JobStore, List, Place, StoredRecord, Totals, contract},
};
use bytes::Bytes;
use futures_util::FutureExt;
use tokio::task::yield_now;

#[tokio::test]
async fn the_store_in_memory_keeps_the_contract() {
    contract::all(async || MemoryJobStore::new()).await;
}

#[tokio::test]
async fn a_store_with_a_bug_breaks_the_contract() {
    contract::all(async || Buggy::new(Bug::None)).await;
    for bug in BUGS {
        let all = contract::all(async || Buggy::new(*bug));
        assert!(AssertUnwindSafe(all).catch_unwind().await.is_err(), "{bug:?} isn't found");
    }
    let store = Buggy::new(Bug::None);
    contract::records_outlive_the_store(async || store.clone()).await;
    let forgets = contract::records_outlive_the_store(async || Buggy::new(Bug::None));
    assert!(AssertUnwindSafe(forgets).catch_unwind().await.is_err());
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Bug {
    None,
    /// Another one may write between the check and the creation.
    KeyCheckedBefore,
    FullCheckedBefore,
    KeyOfNothing,
    KeyOutlivesRecord,
    KeyLostByReplace,
    RunningNotCounted,
    ReplacesAnyVersion,
    RemovesAnyVersion,
    VersionsBeginAgain,
    KeepsVersion,
    CutsBytes,
    NotMoved,
    Unsorted,
    TooMany,
    IgnoresEnd,
    IgnoresStart,
    CountsOneMore,
    CountsNoBytes,
}

const BUGS: &[Bug] = &[
    Bug::KeyCheckedBefore,
    Bug::FullCheckedBefore,
    Bug::KeyOfNothing,
    Bug::KeyOutlivesRecord,
    Bug::KeyLostByReplace,
    Bug::RunningNotCounted,
    Bug::ReplacesAnyVersion,
    Bug::RemovesAnyVersion,
    Bug::VersionsBeginAgain,
    Bug::KeepsVersion,
    Bug::CutsBytes,
    Bug::NotMoved,
    Bug::Unsorted,
    Bug::TooMany,
    Bug::IgnoresEnd,
    Bug::IgnoresStart,
    Bug::CountsOneMore,
    Bug::CountsNoBytes,
];

/// A store in memory that looks after keys itself, with a bug.
#[derive(Clone)]
struct Buggy {
    bug: Bug,
    inner: MemoryJobStore,
    keys: Arc<Mutex<HashMap<[u8; 32], JobId>>>,
}

impl Buggy {
    fn new(bug: Bug) -> Self {
        Self { bug, inner: MemoryJobStore::new(), keys: Arc::default() }
    }

    fn has(&self, bug: Bug) -> bool {
        self.bug == bug
    }

    async fn version_of(&self, id: JobId, asked: u64, any: Bug) -> Result<u64, StoreError> {
        let stored = self.inner.get(id).await?;
        Ok(stored.filter(|_| self.has(any)).map_or(asked, |stored| stored.version))
    }
}

impl JobStore for Buggy {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        let found = key.and_then(|key| self.keys.lock().unwrap().get(&key).copied());
        if let Some(id) = found {
            return Ok(Created::Exists(id));
        }
        let records = async |list| Ok::<_, StoreError>(self.inner.totals(list).await?.records);
        let (queued, running) = (records(List::Queued).await?, records(List::Running).await?);
        let pending = if self.has(Bug::RunningNotCounted) { queued } else { queued + running };
        if pending >= max_pending {
            if let Some(key) = key.filter(|_| self.has(Bug::KeyOfNothing)) {
                self.keys.lock().unwrap().insert(key, id);
            }
            return Ok(Created::Full);
        }
        if self.has(if key.is_some() { Bug::KeyCheckedBefore } else { Bug::FullCheckedBefore }) {
            yield_now().await;
        }
        if let Some(key) = key {
            self.keys.lock().unwrap().insert(key, id);
        }
        let len = if self.has(Bug::CutsBytes) { bytes.len().min(1024 * 1024) } else { bytes.len() };
        self.inner.create(id, None, bytes.slice(..len), place, u64::MAX).await
    }

    async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        let stored = self.inner.get(id).await?;
        Ok(stored.map(|stored| match self.bug {
            Bug::VersionsBeginAgain => StoredRecord { version: u64::from(stored.place.list != List::Queued), ..stored },
            _ => stored,
        }))
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        let Some(stored) = self.get(id).await? else { return Ok(None) };
        if self.has(Bug::KeepsVersion) && (&stored.bytes, stored.place) == (&bytes, place) && stored.version == version
        {
            return Ok(Some(version));
        }
        if self.has(Bug::VersionsBeginAgain) {
            if stored.version != version {
                return Ok(None);
            }
            let real = self.inner.get(id).await?.map_or(0, |stored| stored.version);
            self.inner.replace(id, real, bytes, place).await?;
            return Ok(self.get(id).await?.map(|stored| stored.version));
        }
        if self.has(Bug::KeyLostByReplace) {
            self.keys.lock().unwrap().retain(|_, of| *of != id);
        }
        let place = if self.has(Bug::NotMoved) { stored.place } else { place };
        let version = self.version_of(id, version, Bug::ReplacesAnyVersion).await?;
        self.inner.replace(id, version, bytes, place).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let version = self.version_of(id, version, Bug::RemovesAnyVersion).await?;
        let version = self.version_of(id, version, Bug::VersionsBeginAgain).await?;
        let is_removed = self.inner.remove(id, version).await?;
        if is_removed && !self.has(Bug::KeyOutlivesRecord) {
            self.keys.lock().unwrap().retain(|_, of| *of != id);
        }
        Ok(is_removed)
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let (start, end) = times.into_inner();
        let times = match self.bug {
            Bug::IgnoresEnd => start..=u64::MAX,
            Bug::IgnoresStart => 0..=end,
            _ => start..=end,
        };
        let mut due = self.inner.due(list, times, if self.has(Bug::TooMany) { 1_000 } else { limit }).await?;
        if self.has(Bug::Unsorted) {
            due.sort();
        }
        Ok(due)
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        let Totals { records, bytes } = self.inner.totals(list).await?;
        Ok(match self.bug {
            Bug::CountsOneMore => Totals { records: records + 1, bytes },
            Bug::CountsNoBytes => Totals { records, bytes: 0 },
            _ => Totals { records, bytes },
        })
    }
}
