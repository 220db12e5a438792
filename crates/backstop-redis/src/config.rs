//! The builder.

use std::{fmt, time::Duration};

use backstop_core::ConfigError;

use crate::RedisStore;

pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_millis(500);
pub(crate) const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const LONGEST_PREFIX: usize = 64;

/// Builds a [`RedisStore`]: see [`RedisStore::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RedisStoreBuilder {
    client: redis::Client,
    prefix: String,
    timeout: Duration,
    connect_timeout: Duration,
}

impl RedisStoreBuilder {
    pub(crate) const fn new(client: redis::Client) -> Self {
        Self { client, prefix: String::new(), timeout: DEFAULT_TIMEOUT, connect_timeout: DEFAULT_CONNECT_TIMEOUT }
    }

    /// What all keys begin with, such as `shop:`: up to 64 bytes of printable ASCII, nothing unless set.
    ///
    /// For services that share a database. Give all instances of a service the same one.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// How long a call may take: 10 ms to 10 s, 500 ms unless set. A call that takes longer has failed, and the connection is
    /// replaced.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// How long it may take to connect: 10 ms to 60 s, 2 s unless set. No call waits for that.
    pub const fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// The store. It doesn't connect yet: spawn [`RedisStore::run`].
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn build(self) -> Result<RedisStore, ConfigError> {
        let Self { client, prefix, timeout, connect_timeout } = self;
        if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ConfigError::new("prefix", prefix, "up to 64 bytes of printable ASCII"));
        }
        let least = Duration::from_millis(10);
        ConfigError::check_range("timeout", timeout, least..=Duration::from_secs(10), "10 ms to 10 s")?;
        let longest = Duration::from_secs(60);
        ConfigError::check_range("connect_timeout", connect_timeout, least..=longest, "10 ms to 60 s")?;
        Ok(RedisStore::with(client, prefix, timeout, connect_timeout))
    }
}

/// Without the client, which has a password.
impl fmt::Debug for RedisStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisStoreBuilder")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("connect_timeout", &self.connect_timeout)
            .finish_non_exhaustive()
    }
}
