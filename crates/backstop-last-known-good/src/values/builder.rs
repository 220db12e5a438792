//! What it can be told.

use std::{
    borrow::Cow,
    fmt,
    hash::Hash,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use backstop_core::{ConfigError, Name};
use moka::{policy::EvictionPolicy, sync::Cache};

use super::{Inner, Known, LastKnownValues};
use crate::age::Clock;

const DEFAULT_MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST_MAX_STALE: Duration = Duration::from_secs(1);
const LONGEST_MAX_STALE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const DEFAULT_MAX_ENTRIES: u64 = 10_000;
const LARGEST_MAX_ENTRIES: u64 = 1 << 24;
const LARGEST_MAX_BYTES: u64 = 1 << 40;

/// Remembered values as plain data, for [`LastKnownValues::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastKnownValuesConfig {
    /// The [name](Name) in logs and metrics.
    pub name: Cow<'static, str>,
    /// The age up to which a value is given: 1 s to 365 days, 24 h unless set.
    pub max_stale: Duration,
    /// How many values are remembered at most: 1 to 16,777,216, 10,000 unless set.
    pub max_entries: u64,
}

impl LastKnownValuesConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), max_stale: DEFAULT_MAX_STALE, max_entries: DEFAULT_MAX_ENTRIES }
    }
}

/// Settings that were checked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) max_stale: Duration,
    max_entries: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_stale: DEFAULT_MAX_STALE, max_entries: DEFAULT_MAX_ENTRIES }
    }
}

/// How many bytes there may be, and how many a key and its value have.
pub(super) struct Bytes<K, V> {
    max: u64,
    of: BytesOf<K, V>,
}

type BytesOf<K, V> = Box<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// Builds [`LastKnownValues`]: see [`LastKnownValues::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct LastKnownValuesBuilder<K, V> {
    config: LastKnownValuesConfig,
    bytes: Option<Bytes<K, V>>,
}

impl<K, V> LastKnownValuesBuilder<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) const fn new(config: LastKnownValuesConfig) -> Self {
        Self { config, bytes: None }
    }

    /// The age up to which a value is given: 1 s to 365 days, 24 h unless set.
    pub const fn max_stale(mut self, age: Duration) -> Self {
        self.config.max_stale = age;
        self
    }

    /// How many values are remembered at most: 1 to 16,777,216, 10,000 unless set.
    pub const fn max_entries(mut self, values: u64) -> Self {
        self.config.max_entries = values;
        self
    }

    /// How many bytes the values take at most, too: 1 to 1 TiB; `bytes_of` says how many a key and its value have. Not
    /// bounded unless set.
    ///
    /// Each value counts as at least `max_bytes / max_entries`, which bounds their number.
    pub fn max_bytes(mut self, max_bytes: u64, bytes_of: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        self.bytes = Some(Bytes { max: max_bytes, of: Box::new(bytes_of) });
        self
    }

    /// What remembers.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` where it is no [`Name`], and for each value outside its range.
    pub fn build(self) -> Result<LastKnownValues<K, V>, ConfigError> {
        let Self { config: LastKnownValuesConfig { name, max_stale, max_entries }, bytes } = self;
        if !(SHORTEST_MAX_STALE..=LONGEST_MAX_STALE).contains(&max_stale) {
            return Err(ConfigError::new("max_stale", format!("{max_stale:?}"), "1 s to 365 days"));
        }
        if !(1..=LARGEST_MAX_ENTRIES).contains(&max_entries) {
            return Err(ConfigError::new("max_entries", max_entries.to_string(), "1 to 16777216"));
        }
        if let Some(Bytes { max, .. }) = bytes.as_ref().filter(|bytes| !(1..=LARGEST_MAX_BYTES).contains(&bytes.max)) {
            return Err(ConfigError::new("max_bytes", max.to_string(), "1 to 1099511627776 (1 TiB)"));
        }
        Ok(LastKnownValues::with(Name::new(name)?, Settings { max_stale, max_entries }, bytes))
    }
}

impl<K, V> fmt::Debug for LastKnownValuesBuilder<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownValuesBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl<K, V> LastKnownValues<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    pub(super) fn with(name: Name, settings: Settings, bytes: Option<Bytes<K, V>>) -> Self {
        // What is the newest is the best to have: moka's own policy would turn away a new key for a popular one.
        let cache = Cache::builder().eviction_policy(EvictionPolicy::lru());
        // By the clock of moka, which only gives memory back: what is too old isn't given in any case.
        let cache = cache.time_to_live(settings.max_stale);
        let values = match bytes {
            None => cache.max_capacity(settings.max_entries).build(),
            Some(Bytes { max, of }) => {
                let least = max.div_ceil(settings.max_entries);
                let weigh = move |key: &K, known: &Known<V>| {
                    let bytes = known.value.as_ref().map_or(0, |value| of(key, value));
                    u32::try_from(least.max(bytes as u64)).unwrap_or(u32::MAX)
                };
                cache.max_capacity(max).weigher(weigh).build()
            }
        };
        let (begun, cleared) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { inner: Arc::new(Inner { name, settings, values, clock: Clock::start(), begun, cleared }) }
    }
}
