//! The configuration and the builder.

use std::{
    borrow::Cow,
    fmt,
    hash::Hash,
    sync::{Arc, OnceLock, atomic::AtomicU64},
    time::Duration,
};

use backstop_core::{ConfigError, Name};
use backstop_kit::AtomicDuration;
use moka::{Expiry, policy::EvictionPolicy, sync::Cache};

use super::{Inner, LastKnownValues, Record};
use crate::age::Clock;

const DEFAULT_MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST_MAX_STALE: Duration = Duration::from_secs(1);
const LONGEST_MAX_STALE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const DEFAULT_MAX_ENTRIES: u64 = 10_000;
const LARGEST_MAX_ENTRIES: u64 = 1 << 24;
const LARGEST_MAX_BYTES: u64 = 1 << 40;

/// Remembered values as plain data, for [`LastKnownValues::from_config`].
///
/// With the feature `serde` it can be read from a file: see [`LastKnownGoodConfig`](crate::LastKnownGoodConfig). Its times
/// can be [reloaded](LastKnownValues::reload).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "LastKnownValuesConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct LastKnownValuesConfig {
    /// The [name](Name) in logs and metrics.
    pub name: Cow<'static, str>,
    /// See [`max_stale`](LastKnownValuesBuilder::max_stale).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_stale: Duration,
    /// See [`max_entries`](LastKnownValuesBuilder::max_entries).
    pub max_entries: u64,
}

impl LastKnownValuesConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), max_stale: DEFAULT_MAX_STALE, max_entries: DEFAULT_MAX_ENTRIES }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    fn check(&self) -> Result<Name, ConfigError> {
        let range = SHORTEST_MAX_STALE..=LONGEST_MAX_STALE;
        ConfigError::check_range("max_stale", self.max_stale, range, "1 s to 365 days")?;
        ConfigError::check_range("max_entries", self.max_entries, 1..=LARGEST_MAX_ENTRIES, "1 to 16777216")?;
        Name::new(self.name.clone())
    }
}

/// The capacity in bytes, and the size of a key and its value.
struct ByteLimit<K, V> {
    max: u64,
    of: BytesOf<K, V>,
}

type BytesOf<K, V> = Box<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// Builds [`LastKnownValues`]: see [`LastKnownValues::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct LastKnownValuesBuilder<K, V> {
    config: LastKnownValuesConfig,
    bytes: Option<ByteLimit<K, V>>,
}

impl<K, V> LastKnownValuesBuilder<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    const fn new(config: LastKnownValuesConfig) -> Self {
        Self { config, bytes: None }
    }

    /// The age up to which a value is returned: 1 s to 365 days. Default: 24 h.
    pub const fn max_stale(mut self, age: Duration) -> Self {
        self.config.max_stale = age;
        self
    }

    /// The maximum number of values: 1 to 16,777,216. Default: 10,000.
    pub const fn max_entries(mut self, values: u64) -> Self {
        self.config.max_entries = values;
        self
    }

    /// The capacity in bytes: 1 to 1 TiB. `bytes_of` returns the size of a key and its value. Default: unbounded.
    ///
    /// Each value counts as at least `max_bytes / max_entries` bytes, which bounds their number.
    pub fn max_bytes(mut self, max_bytes: u64, bytes_of: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        self.bytes = Some(ByteLimit { max: max_bytes, of: Box::new(bytes_of) });
        self
    }

    /// Builds the values.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a valid [`Name`], or a value is out of range.
    pub fn build(self) -> Result<LastKnownValues<K, V>, ConfigError> {
        let Self { config, bytes } = self;
        let name = config.check()?;
        if let Some(ByteLimit { max, .. }) = &bytes {
            ConfigError::check_range("max_bytes", *max, 1..=LARGEST_MAX_BYTES, "1 to 1099511627776 (1 TiB)")?;
        }
        Ok(LastKnownValues::with_settings(name, config.max_stale, config.max_entries, bytes))
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
    /// Remembers up to 10,000 values, each for 24 h.
    #[must_use]
    pub fn new(name: Name) -> Self {
        Self::with_settings(name, DEFAULT_MAX_STALE, DEFAULT_MAX_ENTRIES, None)
    }

    /// A builder, for other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_last_known_good::LastKnownValues;
    ///
    /// let pages: LastKnownValues<String, String> = LastKnownValues::builder("pages")
    ///     .max_stale(Duration::from_secs(3600))
    ///     .max_bytes(64 << 20, |path: &String, page: &String| path.len() + page.len())
    ///     .build()?;
    /// # let _ = pages;
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> LastKnownValuesBuilder<K, V> {
        LastKnownValuesBuilder::new(LastKnownValuesConfig::new(name))
    }

    /// Builds from a configuration.
    ///
    /// # Errors
    /// As [`LastKnownValuesBuilder::build`].
    pub fn from_config(config: LastKnownValuesConfig) -> Result<Self, ConfigError> {
        LastKnownValuesBuilder::new(config).build()
    }

    fn with_settings(name: Name, max_stale: Duration, max_entries: u64, bytes: Option<ByteLimit<K, V>>) -> Self {
        // The newest values are the best. moka's default policy would reject a new key in favour of a popular one.
        let cache = Cache::builder().eviction_policy(EvictionPolicy::lru());
        // Only frees memory: a value that is too old isn't returned anyway.
        let max_stale = Arc::new(AtomicDuration::new(max_stale));
        let cache = cache.expire_after(AfterMaxStale(Arc::clone(&max_stale)));
        let values = match bytes {
            None => cache.max_capacity(max_entries).build(),
            Some(ByteLimit { max, of }) => {
                let least = max.div_ceil(max_entries);
                let weigh = move |key: &K, known: &Record<V>| {
                    let bytes = known.value.as_ref().map_or(0, |value| of(key, value));
                    u32::try_from(least.max(bytes as u64)).unwrap_or(u32::MAX)
                };
                cache.max_capacity(max).weigher(weigh).build()
            }
        };
        let (next, cleared) = (AtomicU64::new(0), AtomicU64::new(0));
        let (clock, log) = (Clock::start(), OnceLock::new());
        Self { inner: Arc::new(Inner { name, max_stale, max_entries, values, clock, next, cleared, log }) }
    }

    /// Changes `max_stale` for all clones. What is remembered stays.
    ///
    /// A shorter time holds at once, a longer one for values that are remembered afterwards. `max_entries` can't change. What
    /// `max_bytes` was set to isn't part of a [`LastKnownValuesConfig`], and stays.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_last_known_good::{LastKnownValues, LastKnownValuesConfig, name};
    ///
    /// let prices: LastKnownValues<u32, u32> = LastKnownValues::new(name!("prices"));
    /// let mut config = LastKnownValuesConfig::new("prices");
    /// config.max_stale = Duration::from_secs(3600);
    /// prices.reload(config)?;
    /// assert_eq!(prices.max_stale(), Duration::from_secs(3600));
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    ///
    /// # Errors
    /// As [`LastKnownValuesBuilder::build`], and if `name` or `max_entries` changes. Nothing changes then.
    #[expect(clippy::needless_pass_by_value, reason = "all handles take a configuration to keep")]
    pub fn reload(&self, config: LastKnownValuesConfig) -> Result<(), ConfigError> {
        self.check(&config)?;
        self.inner.max_stale.set(config.max_stale);
        Ok(())
    }

    /// Whether [`reload`](Self::reload) would accept `config`. Changes nothing.
    ///
    /// # Errors
    /// Those of `reload`.
    pub fn check(&self, config: &LastKnownValuesConfig) -> Result<(), ConfigError> {
        let name = config.check()?;
        if name != self.inner.name {
            return Err(ConfigError::new("name", config.name.clone(), "the one that the values were built with"));
        }
        if config.max_entries != self.inner.max_entries {
            let allowed = "what the values were built with: their store can't be resized";
            return Err(ConfigError::new("max_entries", config.max_entries.to_string(), allowed));
        }
        Ok(())
    }
}

/// Frees a value when it is too old to be returned.
struct AfterMaxStale(Arc<AtomicDuration>);

#[expect(clippy::disallowed_types, reason = "moka has a clock of its own")]
impl<K, V> Expiry<K, Record<V>> for AfterMaxStale {
    fn expire_after_create(&self, _: &K, _: &Record<V>, _: std::time::Instant) -> Option<Duration> {
        Some(self.0.get())
    }

    fn expire_after_update(
        &self,
        _: &K,
        _: &Record<V>,
        _: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(self.0.get())
    }
}
