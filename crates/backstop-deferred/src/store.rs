//! What the author of a store needs: the trait, what it takes and returns, and with the feature `contract` the tests that a store
//! must pass.
//!
//! | | |
//! |---|---|
//! | [`JobStore`] | what a store does |
//! | [`Place`], [`List`] | where a record is, and when it is due |
//! | [`StoredRecord`], [`Created`], [`Totals`] | what a store returns |
//! | `contract` | the tests |
//!
//! A store knows nothing of what is in a record. [`JobId`] and [`StoreError`] are in the crate's root.

#[cfg(feature = "contract")]
#[cfg_attr(docsrs, doc(cfg(feature = "contract")))]
pub mod contract;

use std::{fmt, ops::RangeInclusive, time::Duration};

use backstop_kit::StoreError;
use bytes::Bytes;

use crate::JobId;

/// What a [`JobStore`] finds a record by, beside its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The list in which the record is.
    pub list: List,
    /// When the record is due, in milliseconds since the Unix epoch: to be run, or to be removed.
    pub due: u64,
}

/// A list of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum List {
    /// Jobs that wait for a worker, or for their next attempt.
    Queued,
    /// Jobs that a worker has claimed. They are due when their claims run out.
    Running,
    /// Jobs that are done. They are kept for their status, and because of their keys.
    Done,
    /// Jobs that have failed for good.
    Dead,
}

/// What [`JobStore::create`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Created {
    /// The record exists now, and outlives what the store promises to outlive.
    New,
    /// A record with the same key exists already: this one. Nothing was created.
    Exists(JobId),
    /// As many records as allowed are queued or running. Nothing was created.
    Full,
}

/// A record as it is stored.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// What was written.
    pub bytes: Bytes,
    /// Another number after each write of this record.
    pub version: u64,
    /// Where it was put.
    pub place: Place,
}

/// Without the bytes, which have a payload.
impl fmt::Debug for StoredRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, version, place } = self;
        f.debug_struct("StoredRecord")
            .field("len", &bytes.len())
            .field("version", version)
            .field("place", place)
            .finish()
    }
}

/// How much is in a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// How many records.
    pub records: u64,
    /// The length of their bytes together.
    pub bytes: u64,
}

/// Keeps the records of jobs: [`MemoryJobStore`](crate::MemoryJobStore), or your own. Bytes in and out.
///
/// The module `contract` (feature `contract`) has tests that every store must pass.
///
/// A store that only one process can open moves the records of [`List::Running`] to [`List::Queued`] when it is opened: whoever ran
/// them is gone. Their bytes stay as they are, so that the crash counts.
///
/// [`due`](Self::due) and [`totals`](Self::totals) may show a write some moments late, in a store of several processes. All else is
/// exact.
///
/// Each call is limited to [`store_timeout`](crate::DeferredBuilder::store_timeout). An error means that nobody knows whether a
/// write has happened.
///
/// # Cancellation
/// Each future may be dropped at any time. A write may then have happened or not, but not in part.
pub trait JobStore: Send + Sync + 'static {
    /// Creates a record, and returns once it is durable.
    ///
    /// If `key` belongs to a record that exists, or `max_pending` records are queued or running, nothing is created. Both are
    /// decided together with the creation: of two calls with the same key at once, one creates its record.
    ///
    /// # Errors
    /// [`StoreError`] if the record may exist or not.
    fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> impl Future<Output = Result<Created, StoreError>> + Send;

    /// The record with this id. `None` if there is none.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn get(&self, id: JobId) -> impl Future<Output = Result<Option<StoredRecord>, StoreError>> + Send;

    /// Replaces a record, and moves it, if it still has this version. Its new version, or `None` if it had another one.
    ///
    /// # Errors
    /// [`StoreError`] if the record may be replaced or not.
    fn replace(
        &self,
        id: JobId,
        version: u64,
        bytes: Bytes,
        place: Place,
    ) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send;

    /// Removes a record and its key, if it still has this version. Whether it had.
    ///
    /// # Errors
    /// [`StoreError`] if the record may be removed or not.
    fn remove(&self, id: JobId, version: u64) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The records of a list that are due within `times`, in milliseconds since the Unix epoch: those that are due first first, those
    /// that are due together by their ids, at most `limit`. A replica that lags may show a record up to 5 s late.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn due(
        &self,
        list: List,
        times: RangeInclusive<u64>,
        limit: usize,
    ) -> impl Future<Output = Result<Vec<JobId>, StoreError>> + Send;

    /// When the first record of [`List::Queued`] is due, in milliseconds since the Unix epoch. `None` if none is queued, or if the
    /// store doesn't know. For what is shown to operators: it may be an old answer.
    ///
    /// By default, by [`due`](Self::due) and [`get`](Self::get). **A store whose `due` takes jobs from other processes has its own.** It
    /// is asked each second, also while no job may be taken.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn oldest(&self) -> impl Future<Output = Result<Option<u64>, StoreError>> + Send {
        async {
            let Some(first) = self.due(List::Queued, 0..=u64::MAX, 1).await?.pop() else { return Ok(None) };
            let stored = self.get(first).await?;
            Ok(stored.filter(|stored| stored.place.list == List::Queued).map(|stored| stored.place.due))
        }
    }

    /// Hides a queued record from [`due`](Self::due) of this process for `time`, and from no other, because this process can't run it.
    /// The record isn't written. Whether it is hidden.
    ///
    /// By default, `false`: a worker then passes over the record by itself. **A store whose `due` takes jobs from other processes has
    /// its own**, which gives the job back.
    ///
    /// # Errors
    /// [`StoreError`] if it isn't known whether the record is hidden.
    fn hide(&self, _id: JobId, _time: Duration) -> impl Future<Output = Result<bool, StoreError>> + Send {
        async { Ok(false) }
    }

    /// Gives back the jobs that [`due`](Self::due) has shown to this process, and that it hasn't begun: a worker stops, and others are
    /// to be shown them at once. Other workers of this process may go on: they ask again.
    ///
    /// By default, does nothing. **A store whose `due` takes jobs from other processes has its own.**
    ///
    /// # Errors
    /// [`StoreError`] if jobs may not be given back.
    fn release(&self) -> impl Future<Output = Result<(), StoreError>> + Send {
        async { Ok(()) }
    }

    /// How much is in a list.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn totals(&self, list: List) -> impl Future<Output = Result<Totals, StoreError>> + Send;
}
