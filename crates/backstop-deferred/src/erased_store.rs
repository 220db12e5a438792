//! Any store, behind one type. Each call is limited in time.

use std::{ops::RangeInclusive, pin::Pin, sync::Arc, time::Duration};

use backstop_kit::{Reloadable, StoreError, bounded};
use bytes::Bytes;

use crate::{
    DeferredConfig, JobId,
    store::{Created, JobStore, List, Place, StoredRecord, Totals},
};

type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

pub(crate) trait ErasedStore: Send + Sync {
    fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Boxed<'_, Created>;
    fn get(&self, id: JobId) -> Boxed<'_, Option<StoredRecord>>;
    fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Boxed<'_, Option<u64>>;
    fn remove(&self, id: JobId, version: u64) -> Boxed<'_, bool>;
    fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Boxed<'_, Vec<JobId>>;
    fn oldest(&self) -> Boxed<'_, Option<u64>>;
    fn hide(&self, id: JobId, time: Duration) -> Boxed<'_, bool>;
    fn release(&self) -> Boxed<'_, ()>;
    fn totals(&self, list: List) -> Boxed<'_, Totals>;
}

/// A store, and how long its calls may take.
pub(crate) struct Bounded<S> {
    pub(crate) store: S,
    pub(crate) settings: Arc<Reloadable<DeferredConfig>>,
}

impl<S> Bounded<S> {
    fn bounded<'a, T: 'a>(&self, call: impl Future<Output = Result<T, StoreError>> + Send + 'a) -> Boxed<'a, T> {
        Box::pin(bounded(self.settings.load().store_timeout, call))
    }
}

impl<S: JobStore> ErasedStore for Bounded<S> {
    fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Boxed<'_, Created> {
        self.bounded(self.store.create(id, key, bytes, place, max_pending))
    }

    fn get(&self, id: JobId) -> Boxed<'_, Option<StoredRecord>> {
        self.bounded(self.store.get(id))
    }

    fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Boxed<'_, Option<u64>> {
        self.bounded(self.store.replace(id, version, bytes, place))
    }

    fn remove(&self, id: JobId, version: u64) -> Boxed<'_, bool> {
        self.bounded(self.store.remove(id, version))
    }

    fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Boxed<'_, Vec<JobId>> {
        self.bounded(self.store.due(list, times, limit))
    }

    fn oldest(&self) -> Boxed<'_, Option<u64>> {
        self.bounded(self.store.oldest())
    }

    fn hide(&self, id: JobId, time: Duration) -> Boxed<'_, bool> {
        self.bounded(self.store.hide(id, time))
    }

    fn release(&self) -> Boxed<'_, ()> {
        self.bounded(self.store.release())
    }

    fn totals(&self, list: List) -> Boxed<'_, Totals> {
        self.bounded(self.store.totals(list))
    }
}
