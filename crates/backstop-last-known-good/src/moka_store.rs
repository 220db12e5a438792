//! The embedded store.

use std::{fmt, time::Duration};

use backstop_core::ConfigError;
use bytes::Bytes;
use moka::{Expiry, policy::EvictionPolicy, sync::Cache};

use crate::{Store, StoreError};

pub(crate) const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
pub(crate) const DEFAULT_MAX_ENTRIES: u64 = 65_536;
const LARGEST_MAX: u64 = 1 << 40;

/// The default store, in memory, based on the crate `moka`. It is bounded in bytes and entries, and always ready.
///
/// When it is full, the least recently used entries are evicted. Clones share their entries.
#[derive(Clone)]
pub struct MokaStore {
    cache: Cache<Bytes, Record>,
    max_bytes: u64,
}

#[derive(Clone)]
struct Record {
    value: Bytes,
    ttl: Duration,
}

impl MokaStore {
    /// Holds at most `max_bytes` (keys and values) and `max_entries`.
    ///
    /// Each entry counts as at least `max_bytes / max_entries` bytes, which bounds their number. Each URI of an answer has an
    /// entry too, and so has each principal of a URI.
    ///
    /// # Errors
    /// [`ConfigError`] if `max_bytes` isn't 1 to 2^40, or `max_entries` isn't 1 to `max_bytes`.
    pub fn new(max_bytes: u64, max_entries: u64) -> Result<Self, ConfigError> {
        ConfigError::check_range("max_bytes", max_bytes, 1..=LARGEST_MAX, "1 to 1099511627776 (1 TiB)")?;
        ConfigError::check_range("max_entries", max_entries, 1..=max_bytes, "1 to max_bytes")?;
        Ok(Self::within(max_bytes, max_entries))
    }

    /// Both are above 0.
    pub(crate) fn within(max_bytes: u64, max_entries: u64) -> Self {
        let least = u32::try_from(max_bytes.div_ceil(max_entries)).unwrap_or(u32::MAX);
        let weigh = move |key: &Bytes, record: &Record| {
            u32::try_from(key.len() + record.value.len()).unwrap_or(u32::MAX).max(least)
        };
        // The newest answers are the best. moka's default policy admits only entries that are read often, but while the
        // service works nobody reads answers, only the nodes that lead to them.
        let cache = Cache::builder().eviction_policy(EvictionPolicy::lru()).max_capacity(max_bytes);
        let cache = cache.weigher(weigh).expire_after(ByRecord).build();
        Self { cache, max_bytes }
    }

    /// The number of entries: answers, and the nodes that lead to them.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.entry_count()
    }

    /// Whether the store is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of the entries in bytes, as they are counted.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.cache.run_pending_tasks();
        self.cache.weighted_size()
    }

    /// Removes everything.
    pub fn clear(&self) {
        self.cache.invalidate_all();
    }
}

/// Only frees memory: an answer that is too old isn't served anyway.
struct ByRecord;

#[expect(clippy::disallowed_types, reason = "moka has a clock of its own")]
impl Expiry<Bytes, Record> for ByRecord {
    fn expire_after_create(&self, _: &Bytes, record: &Record, _: std::time::Instant) -> Option<Duration> {
        Some(record.ttl)
    }

    fn expire_after_update(
        &self,
        _: &Bytes,
        record: &Record,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(record.ttl)
    }
}

impl Store for MokaStore {
    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.cache.get(key).map(|record| record.value))
    }

    async fn put(&self, key: &[u8], value: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.cache.insert(Bytes::copy_from_slice(key), Record { value, ttl });
        Ok(())
    }

    async fn remove(&self, key: &[u8]) -> Result<(), StoreError> {
        self.cache.invalidate(key);
        Ok(())
    }
}

impl fmt::Debug for MokaStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MokaStore")
            .field("max_bytes", &self.max_bytes)
            .field("entries", &self.cache.entry_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
