//! The trait of stores.

use std::{fmt, ops::RangeInclusive, str::FromStr};

use backstop_kit::StoreError;
use bytes::Bytes;

/// The id of a job: 128 random bits, written as 32 hexadecimal digits. It can't be guessed, so that it may serve as a token.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId([u8; 16]);

impl JobId {
    /// The id with these bytes, for stores.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

/// A text that isn't the id of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidJobId;

impl fmt::Display for InvalidJobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an id has 32 hexadecimal digits")
    }
}

impl std::error::Error for InvalidJobId {}

impl FromStr for JobId {
    type Err = InvalidJobId;

    fn from_str(text: &str) -> Result<Self, InvalidJobId> {
        let is_hex = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let number = u128::from_str_radix(text, 16).ok().filter(|_| is_hex).ok_or(InvalidJobId)?;
        Ok(Self(number.to_be_bytes()))
    }
}

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
pub struct Stored {
    /// What was written.
    pub bytes: Bytes,
    /// Another number after each write of this record.
    pub version: u64,
    /// Where it was put.
    pub place: Place,
}

/// Without the bytes, which have a payload.
impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { bytes, version, place } = self;
        f.debug_struct("Stored").field("len", &bytes.len()).field("version", version).field("place", place).finish()
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
    fn get(&self, id: JobId) -> impl Future<Output = Result<Option<Stored>, StoreError>> + Send;

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

    /// The records of a list that are due within `times`, in milliseconds since the Unix epoch: those that are due first first, at
    /// most `limit`.
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

    /// How much is in a list.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn totals(&self, list: List) -> impl Future<Output = Result<Totals, StoreError>> + Send;
}
