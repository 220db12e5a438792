//! The configuration and the builder.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, atomic::AtomicUsize},
    time::Duration,
};

use backstop_core::{ConfigError, Name};
use backstop_kit::Registration;
use http::{HeaderName, request};

use crate::{
    LastKnownGoodLayer, MokaStore, Store,
    entry_store::EntryStore,
    layer_state::{Capacity, LayerState, Principal},
    moka_store::{DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES},
};

const DEFAULT_MAX_STALE: Duration = Duration::from_secs(24 * 60 * 60);
const SHORTEST_MAX_STALE: Duration = Duration::from_secs(1);
const LONGEST_MAX_STALE: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const DEFAULT_MAX_BODY: usize = 256 * 1024;
const LARGEST_MAX_BODY: usize = 1024 * 1024 * 1024;
const DEFAULT_STORE_TIMEOUT: Duration = Duration::from_millis(50);
const SHORTEST_STORE_TIMEOUT: Duration = Duration::from_millis(1);
const LONGEST_STORE_TIMEOUT: Duration = Duration::from_secs(10);

/// A layer as plain data, for [`LastKnownGoodLayer::from_config`].
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_last_known_good::LastKnownGoodConfig;
///
/// let config: LastKnownGoodConfig = toml::from_str(r#"
///     name = "catalogue"
///     max_stale = "24h"         # 1 s to 365 days
///     max_body = 262144         # 0 to 1 GiB, in bytes; less than max_bytes
///     store_timeout = "50ms"    # 1 ms to 10 s
///     credentials = []          # further request fields, such as "x-tenant"
///     max_bytes = 67108864      # 1 to 1 TiB, in bytes
///     max_entries = 65536       # 1 to max_bytes
/// "#)?;
/// assert_eq!(config, LastKnownGoodConfig::new("catalogue"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "LastKnownGoodConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct LastKnownGoodConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`max_stale`](LastKnownGoodBuilder::max_stale).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_stale: Duration,
    /// See [`max_body`](LastKnownGoodBuilder::max_body).
    pub max_body: usize,
    /// See [`store_timeout`](LastKnownGoodBuilder::store_timeout).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub store_timeout: Duration,
    /// See [`credentials`](LastKnownGoodBuilder::credentials).
    #[cfg_attr(feature = "serde", serde(with = "backstop_kit::as_text::vec"))]
    pub credentials: Vec<HeaderName>,
    /// See [`max_bytes`](LastKnownGoodBuilder::max_bytes).
    pub max_bytes: u64,
    /// See [`max_entries`](LastKnownGoodBuilder::max_entries).
    pub max_entries: u64,
}

impl LastKnownGoodConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            max_stale: DEFAULT_MAX_STALE,
            max_body: DEFAULT_MAX_BODY,
            store_timeout: DEFAULT_STORE_TIMEOUT,
            credentials: Vec::new(),
            max_bytes: DEFAULT_MAX_BYTES,
            max_entries: DEFAULT_MAX_ENTRIES,
        }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }

    /// Checks everything but the capacity of the store.
    pub(crate) fn check(&self) -> Result<Name, ConfigError> {
        let name = Name::new(self.name.clone())?;
        ConfigError::check_range(
            "max_stale",
            self.max_stale,
            SHORTEST_MAX_STALE..=LONGEST_MAX_STALE,
            "1 s to 365 days",
        )?;
        ConfigError::check_range("max_body", self.max_body, ..=LARGEST_MAX_BODY, "0 to 1073741824 (1 GiB)")?;
        ConfigError::check_range(
            "store_timeout",
            self.store_timeout,
            SHORTEST_STORE_TIMEOUT..=LONGEST_STORE_TIMEOUT,
            "1 ms to 10 s",
        )?;
        Ok(name)
    }

    /// Checks that a body fits into an embedded store.
    pub(crate) fn check_fit(&self) -> Result<(), ConfigError> {
        if self.max_body as u64 >= self.max_bytes {
            return Err(ConfigError::new("max_body", self.max_body.to_string(), "less than max_bytes"));
        }
        Ok(())
    }

    /// The layer with these settings, which are valid.
    pub(crate) fn layer<St: Store>(
        self,
        name: Name,
        store: St,
        principal: Option<Principal>,
        has_embedded_store: bool,
    ) -> LastKnownGoodLayer<St> {
        LastKnownGoodLayer::with(LayerState {
            _registration: Registration::new("last-known-good", name.clone()),
            entries: EntryStore::new(name, store, self.max_stale, self.store_timeout),
            max_body: AtomicUsize::new(self.max_body),
            credentials: self.credentials,
            capacity: Capacity { max_bytes: self.max_bytes, max_entries: self.max_entries },
            has_embedded_store,
            principal,
        })
    }
}

impl LastKnownGoodLayer {
    /// Stores shared answers in memory, up to 64 MiB, and serves them up to an age of 24 h.
    pub fn new(name: Name) -> Self {
        let store = MokaStore::within(DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES);
        LastKnownGoodConfig::new(name.clone()).layer(name, store, None, true)
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_last_known_good::LastKnownGoodLayer;
    ///
    /// let error = LastKnownGoodLayer::builder("catalogue").max_stale(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_stale is 0ns, allowed is: 1 s to 365 days");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> LastKnownGoodBuilder {
        LastKnownGoodBuilder::new(LastKnownGoodConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`LastKnownGoodBuilder::build`].
    pub fn from_config(config: LastKnownGoodConfig) -> Result<Self, ConfigError> {
        LastKnownGoodBuilder::new(config).build()
    }
}

/// Builds a [`LastKnownGoodLayer`]: see [`LastKnownGoodLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct LastKnownGoodBuilder<St = MokaStore> {
    config: LastKnownGoodConfig,
    store: Source<St>,
    principal: Option<Principal>,
}

/// The source of the store.
#[derive(Clone)]
enum Source<St> {
    Embedded(fn(&LastKnownGoodConfig) -> Result<St, ConfigError>),
    Provided(St),
}

impl LastKnownGoodBuilder {
    pub(crate) fn new(config: LastKnownGoodConfig) -> Self {
        Self { config, store: Source::Embedded(embedded), principal: None }
    }

    /// The capacity of the embedded store in bytes, keys included: 1 to 1 TiB. Default: 64 MiB.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.config.max_bytes = bytes;
        self
    }

    /// The capacity of the embedded store in entries, see [`MokaStore::new`]: 1 to `max_bytes`. Default: 65,536.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.config.max_entries = entries;
        self
    }

    /// Uses `store` instead of the embedded one.
    pub fn store<St: Store>(self, store: St) -> LastKnownGoodBuilder<St> {
        LastKnownGoodBuilder { config: self.config, store: Source::Provided(store), principal: self.principal }
    }
}

impl<St: Store> LastKnownGoodBuilder<St> {
    /// The age up to which an answer is served: 1 s to 365 days. Default: 24 h.
    ///
    /// It bounds everything else, also what an answer says about itself. A day bridges a night's outage, and shows nobody
    /// anything older than yesterday. Set less if your answers change faster and an old one is worse than none.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.config.max_stale = age;
        self
    }

    /// The longest body that is stored, in bytes: 0 to 1 GiB. Default: 256 KiB. A longer body streams on and isn't stored.
    ///
    /// Each answer that is streaming may hold this much memory.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config.max_body = bytes;
        self
    }

    /// How long the store may take to find, store or remove an answer: 1 ms to 10 s. Default: 50 ms.
    ///
    /// A store that isn't ready at once may delay an answer by this much, but not beyond the request's deadline. The embedded
    /// store is always ready.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// Further request fields that contain credentials. Default: none.
    ///
    /// The answer to a request with credentials is shared only if it is `public`. These fields always count as credentials:
    ///
    /// - `Authorization`, `Proxy-Authorization`, `Cookie`, `DPoP`, `Client-Cert`;
    /// - names that end in `-Key`, `_Key`, `Token`, `-Secret`, `-JWT` or `-Assertion`, as `X-Api-Key` and `X-Csrf-Token` do;
    ///   also `Apikey` and `X-Apikey`;
    /// - names that begin with `X-Auth`, as `X-Auth-Request-User` does;
    /// - `Remote-User`, `X-Remote-User`, `X-Forwarded-User`, `X-Forwarded-Email`, `X-Forwarded-Preferred-Username`,
    ///   `X-Forwarded-Client-Cert`, `Ssl-Client-Cert`, `X-Webauth-User`, `X-User-Id`, `X-Session-Id`;
    /// - `X-Goog-Authenticated-User-Email`, `X-Goog-Authenticated-User-Id`, `X-Ms-Client-Principal`,
    ///   `X-Ms-Client-Principal-Id`, `X-Amzn-Oidc-Identity`.
    pub fn credentials(mut self, fields: impl IntoIterator<Item = HeaderName>) -> Self {
        self.config.credentials = fields.into_iter().collect();
        self
    }

    /// Identifies the caller, so that each principal's answers are stored for that principal alone. Default: none.
    ///
    /// Without it, no personal answer is stored. With it, `private` answers and answers to requests with credentials are stored
    /// for their principal. Requests for which it returns `None` use the shared answers.
    ///
    /// Use a *verified* identity, such as an extension that your authentication sets on the request. With an identity that a
    /// caller only claims, anyone gets anyone's answers. The value becomes part of the store's keys, so return a user id rather
    /// than a token.
    ///
    /// ```
    /// use backstop_last_known_good::LastKnownGoodLayer;
    /// use http::request::Parts;
    ///
    /// #[derive(Clone)]
    /// struct User {
    ///     id: u64,
    /// }
    ///
    /// let layer = LastKnownGoodLayer::builder("profile")
    ///     .principal(|head: &Parts| head.extensions.get().map(|user: &User| user.id.to_be_bytes()))
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    pub fn principal<F, P>(mut self, principal: F) -> Self
    where
        F: Fn(&request::Parts) -> Option<P> + Send + Sync + 'static,
        P: AsRef<[u8]>,
    {
        self.principal = Some(Arc::new(move |head| principal(head).map(|principal| principal.as_ref().into())));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a valid [`Name`], or a value is out of range.
    pub fn build(self) -> Result<LastKnownGoodLayer<St>, ConfigError> {
        let Self { config, store, principal } = self;
        let name = config.check()?;
        let has_embedded_store = matches!(store, Source::Embedded(_));
        let store = match store {
            Source::Embedded(make) => make(&config)?,
            Source::Provided(store) => store,
        };
        Ok(config.layer(name, store, principal, has_embedded_store))
    }
}

fn embedded(config: &LastKnownGoodConfig) -> Result<MokaStore, ConfigError> {
    let store = MokaStore::new(config.max_bytes, config.max_entries)?;
    config.check_fit()?;
    Ok(store)
}

impl<St> fmt::Debug for LastKnownGoodBuilder<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGoodBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
