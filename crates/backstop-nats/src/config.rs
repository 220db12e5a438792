//! The configuration and the builder.

use std::fmt;

use async_nats::Client;
use backstop_core::{ConfigError, Name};

use crate::NatsJobStore;

/// What a token of a subject may be.
const ALLOWED: &str = "a letter, then at most 63 letters, digits, '_' or '-'";

/// The settings of a [`NatsJobStore`] as plain data, for [`NatsJobStore::from_config`].
///
/// The server's address and how to log in aren't among them: they are in the [`Client`].
///
/// With the feature `serde` it can be read from a file. `name` is required, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_nats::NatsJobStoreConfig;
///
/// let config: NatsJobStoreConfig = toml::from_str(r#"
///     name = "emails"     ## a letter, then letters, digits, '_' or '-': 64 at most
///     ## replicas = 1     # 1 to 5
///     ## domain = "hub"   # none unless set: of JetStream's API
/// "#)?;
/// assert_eq!(config, NatsJobStoreConfig::new("emails"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct NatsJobStoreConfig {
    /// The name of the queue: see [`NatsJobStore::builder`].
    pub name: String,
    /// See [`NatsJobStoreBuilder::replicas`].
    #[cfg_attr(feature = "serde", serde(default = "one"))]
    pub replicas: u8,
    /// See [`NatsJobStoreBuilder::domain`].
    #[cfg_attr(feature = "serde", serde(default))]
    pub domain: Option<String>,
}

#[cfg(feature = "serde")]
const fn one() -> u8 {
    1
}

impl NatsJobStoreConfig {
    /// The default settings under this name.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), replicas: 1, domain: None }
    }

    fn check(&self) -> Result<(), ConfigError> {
        Name::new(self.name.clone())?;
        if self.name.contains('.') {
            return Err(ConfigError::new("name", self.name.clone(), ALLOWED));
        }
        if let Some(domain) = &self.domain
            && (Name::new(domain.clone()).is_err() || domain.contains('.'))
        {
            return Err(ConfigError::new("domain", domain.clone(), ALLOWED));
        }
        ConfigError::check_range("replicas", self.replicas, 1..=5, "1 to 5").map(drop)
    }
}

/// Builds a [`NatsJobStore`]: see [`NatsJobStore::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct NatsJobStoreBuilder {
    client: Client,
    config: NatsJobStoreConfig,
}

impl NatsJobStoreBuilder {
    /// On how many servers of a cluster each message is stored: 1 to 5, 1 unless set. Production wants 3.
    ///
    /// It applies when the streams are created. If they exist with fewer replicas, calls fail; with more, they don't.
    /// The [crate's documentation](crate#what-survives) says what a job survives.
    pub const fn replicas(mut self, replicas: u8) -> Self {
        self.config.replicas = replicas;
        self
    }

    /// The JetStream domain that stores the queue, such as `hub` for a client of a leaf node whose hub has it: a letter, then letters,
    /// digits, `_` or `-`, at most 64. The one of the server that the client is connected to unless set.
    ///
    /// In a domain, permissions have `$JS.hub.API` where the [crate's documentation](crate#what-a-deployment-must-set) has `$JS.API`.
    pub fn domain(mut self, domain: impl Into<String>) -> Self {
        self.config.domain = Some(domain.into());
        self
    }

    /// The settings so far.
    #[must_use]
    pub const fn config(&self) -> &NatsJobStoreConfig {
        &self.config
    }

    /// The store. It asks nothing of the server until its first call.
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn build(self) -> Result<NatsJobStore, ConfigError> {
        NatsJobStore::from_config(self.client, self.config)
    }
}

impl NatsJobStore {
    /// Builds a store for the queue `name`: a letter, then letters, digits, `_` or `-`, at most 64.
    ///
    /// Instances that share a queue give it the same name. Each queue has streams of its own.
    pub fn builder(client: Client, name: impl Into<String>) -> NatsJobStoreBuilder {
        NatsJobStoreBuilder { client, config: NatsJobStoreConfig::new(name) }
    }

    /// Builds a store from plain data.
    ///
    /// # Errors
    /// [`ConfigError`] if a value isn't allowed.
    pub fn from_config(client: Client, config: NatsJobStoreConfig) -> Result<Self, ConfigError> {
        config.check()?;
        Ok(Self::with(client, config))
    }
}

/// Without the client, which may have a password.
impl fmt::Debug for NatsJobStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsJobStoreBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
