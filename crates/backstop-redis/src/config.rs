//! The configuration and the builder.

use std::{fmt, time::Duration};

use backstop_core::ConfigError;

use crate::RedisStore;

const LONGEST_PREFIX: usize = 64;
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The settings of a [`RedisStore`] as plain data, for [`RedisStore::from_config`].
///
/// The server's address and its password aren't among them: they are in the [`redis::Client`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_redis::RedisStoreConfig;
///
/// let config: RedisStoreConfig = toml::from_str(r#"
///     ## prefix = ""              # up to 64 bytes of printable ASCII
///     ## timeout = "500ms"        # 10 ms to 10 s
///     ## connect_timeout = "2s"   # 10 ms to 60 s
///     ## check_interval = "30s"   # 1 s to 1 h
///     ## max_answer = 1048576     # 1 KiB to 512 MiB, in bytes
/// "#)?;
/// assert_eq!(config, RedisStoreConfig::default());
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default, deny_unknown_fields))]
#[non_exhaustive]
pub struct RedisStoreConfig {
    /// See [`RedisStoreBuilder::prefix`].
    pub prefix: String,
    /// See [`RedisStoreBuilder::timeout`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub timeout: Duration,
    /// See [`RedisStoreBuilder::connect_timeout`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub connect_timeout: Duration,
    /// See [`RedisStoreBuilder::check_interval`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub check_interval: Duration,
    /// See [`RedisStoreBuilder::max_answer`].
    pub max_answer: usize,
}

impl RedisStoreConfig {
    const fn new() -> Self {
        Self {
            prefix: String::new(),
            timeout: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(2),
            check_interval: Duration::from_secs(30),
            max_answer: MIB,
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        if self.prefix.len() > LONGEST_PREFIX || !self.prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new("prefix", self.prefix.clone(), "up to 64 bytes of printable ASCII"));
        }
        let in_range = |field, time, shortest, longest, allowed| {
            ConfigError::check_range(field, time, shortest..=longest, allowed).map(drop)
        };
        in_range("timeout", self.timeout, SHORTEST_TIMEOUT, Duration::from_secs(10), "10 ms to 10 s")?;
        in_range("connect_timeout", self.connect_timeout, SHORTEST_TIMEOUT, Duration::from_secs(60), "10 ms to 60 s")?;
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(60 * 60));
        in_range("check_interval", self.check_interval, second, hour, "1 s to 1 h")?;
        let allowed = "1024 (1 KiB) to 536870912 (512 MiB)";
        ConfigError::check_range("max_answer", self.max_answer, KIB..=512 * MIB, allowed).map(drop)
    }
}

impl Default for RedisStoreConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// Builds a [`RedisStore`]: see [`RedisStore::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisStoreBuilder {
    client: redis::Client,
    config: RedisStoreConfig,
}

impl RedisStoreBuilder {
    pub(crate) const fn new(client: redis::Client) -> Self {
        Self { client, config: RedisStoreConfig::new() }
    }

    /// What all keys begin with, such as `shop:`: up to 64 bytes of printable ASCII, nothing unless set.
    ///
    /// For services that share a database. Give all instances of a service the same one.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.config.prefix = prefix.into();
        self
    }

    /// How long a call may take: 10 ms to 10 s, 500 ms unless set. A call that takes longer has failed, and the connection is
    /// replaced.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.config.timeout = timeout;
        self
    }

    /// How long it may take to connect: 10 ms to 60 s, 2 s unless set. No call waits for that.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.config.connect_timeout = timeout;
        self
    }

    /// How often the server is asked whether it is still a primary: 1 s to 1 h, 30 s unless set. It is also asked on each new
    /// connection, and no call waits for that.
    pub const fn check_interval(mut self, interval: Duration) -> Self {
        self.config.check_interval = interval;
        self
    }

    /// The longest last known good answer, in bytes, with its head: 1 KiB to 512 MiB, 1 MiB unless set.
    ///
    /// A longer one isn't stored, which is an error of the store, and isn't read, which is a miss. Set more than the layer's
    /// `max_body`.
    pub const fn max_answer(mut self, bytes: usize) -> Self {
        self.config.max_answer = bytes;
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &RedisStoreConfig {
        &self.config
    }

    /// The store. It doesn't connect yet: spawn [`RedisStore::run`].
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        RedisStore::from_config(self.client, self.config)
    }
}

impl RedisStore {
    /// A store with the default settings: no prefix, 500 ms for a call.
    #[must_use]
    pub fn new(client: redis::Client) -> Self {
        Self::with(client, RedisStoreConfig::new())
    }

    /// Builds a store with other settings.
    ///
    /// ```
    /// use backstop_redis::RedisStore;
    ///
    /// let client = redis::Client::open("redis://127.0.0.1/").unwrap();
    /// let store = RedisStore::builder(client).prefix("shop:").build()?;
    /// # Ok::<(), backstop_redis::ConfigError>(())
    /// ```
    pub const fn builder(client: redis::Client) -> RedisStoreBuilder {
        RedisStoreBuilder::new(client)
    }

    /// Builds a store from plain data.
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn from_config(client: redis::Client, config: RedisStoreConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::with(client, config))
    }
}

/// Without the client, which has a password.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
