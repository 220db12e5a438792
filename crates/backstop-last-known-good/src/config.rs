//! What a layer can be told.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name};
use http::{HeaderName, request};

use crate::{
    LastKnownGoodLayer, MokaStore, Store,
    layer::{Principal, Shared},
    moka_store::{DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES},
    shelf::Shelf,
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
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LastKnownGoodConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// The age up to which an answer is served: 1 s to 365 days, 24 h unless set.
    pub max_stale: Duration,
    /// The longest body that is stored, in bytes: 0 to 1 GiB, 256 KiB unless set.
    pub max_body: usize,
    /// How long the store may take for one answer: 1 ms to 10 s, 50 ms unless set.
    pub store_timeout: Duration,
    /// Fields that say who asks, beside those that are [known to](LastKnownGoodBuilder::credentials).
    pub credentials: Vec<HeaderName>,
    /// The most bytes that the embedded store holds: 1 to 1 TiB, 64 MiB unless set.
    pub max_bytes: u64,
    /// The most entries that the embedded store holds: 1 to `max_bytes`, 65,536 unless set.
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

    /// The layer with these settings, which are right.
    pub(crate) fn layer<St: Store>(
        self,
        name: Name,
        store: St,
        principal: Option<Principal>,
    ) -> LastKnownGoodLayer<St> {
        LastKnownGoodLayer::with(Shared {
            shelf: Shelf::new(name, store, self.max_stale, self.store_timeout),
            max_body: self.max_body,
            credentials: self.credentials,
            principal,
        })
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

/// Where the store comes from.
#[derive(Clone)]
enum Source<St> {
    Made(fn(&LastKnownGoodConfig) -> Result<St, ConfigError>),
    Given(St),
}

impl LastKnownGoodBuilder {
    pub(crate) fn new(config: LastKnownGoodConfig) -> Self {
        Self { config, store: Source::Made(embedded), principal: None }
    }

    /// The most bytes that are stored, keys included: 1 to 1 TiB, 64 MiB unless set.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.config.max_bytes = bytes;
        self
    }

    /// The most entries that are stored, see [`MokaStore::new`]: 1 to `max_bytes`, 65,536 unless set.
    pub fn max_entries(mut self, entries: u64) -> Self {
        self.config.max_entries = entries;
        self
    }

    /// Stores in `store`, in place of memory.
    pub fn store<St: Store>(self, store: St) -> LastKnownGoodBuilder<St> {
        LastKnownGoodBuilder { config: self.config, store: Source::Given(store), principal: self.principal }
    }
}

impl<St: Store> LastKnownGoodBuilder<St> {
    /// The age up to which an answer is served: 1 s to 365 days, 24 h unless set.
    ///
    /// It bounds all else, what an answer says of itself included: a day bridges a night's outage, and nobody is shown
    /// what is older than yesterday. Where what you serve changes faster, so that an old answer is worse than none, set
    /// less.
    pub fn max_stale(mut self, age: Duration) -> Self {
        self.config.max_stale = age;
        self
    }

    /// The longest body that is stored, in bytes: 0 to 1 GiB, 256 KiB unless set. A longer one streams on, unstored.
    ///
    /// So much memory may be held for each answer that is being streamed.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config.max_body = bytes;
        self
    }

    /// How long the store may take to find, to store or to remove an answer: 1 ms to 10 s, 50 ms unless set.
    ///
    /// So long an answer may be held back by a store that isn't ready at once, unless its request's deadline comes first. The
    /// embedded one always is.
    pub fn store_timeout(mut self, timeout: Duration) -> Self {
        self.config.store_timeout = timeout;
        self
    }

    /// Fields that say who asks, beside those that are taken for credentials anyway.
    ///
    /// An answer to a request with one of them is shared only if it is `public`. These are taken for credentials:
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

    /// Tells who asks: each principal's answers are stored for that principal alone.
    ///
    /// Unless set, nothing personal is stored. With it, what is `private` is stored for the principal whom it answers, and
    /// answers to requests with credentials are, too. Requests of which it tells `None` share what may be shared.
    ///
    /// Take it from what was *verified* further out, as an extension that your authentication leaves on the request: with
    /// what a caller merely claims, anyone is served anyone's answers. The value becomes part of the store's keys, so give
    /// an id of the user rather than a token.
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

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` where it is no [`Name`], and for each field that isn't within what it allows.
    pub fn build(self) -> Result<LastKnownGoodLayer<St>, ConfigError> {
        let Self { config, store, principal } = self;
        let name = Name::new(config.name.clone())?;
        if !(SHORTEST_MAX_STALE..=LONGEST_MAX_STALE).contains(&config.max_stale) {
            return Err(ConfigError::new("max_stale", format!("{:?}", config.max_stale), "1 s to 365 days"));
        }
        if config.max_body > LARGEST_MAX_BODY {
            return Err(ConfigError::new("max_body", config.max_body.to_string(), "0 to 1073741824 (1 GiB)"));
        }
        if !(SHORTEST_STORE_TIMEOUT..=LONGEST_STORE_TIMEOUT).contains(&config.store_timeout) {
            return Err(ConfigError::new("store_timeout", format!("{:?}", config.store_timeout), "1 ms to 10 s"));
        }
        let store = match store {
            Source::Made(make) => make(&config)?,
            Source::Given(store) => store,
        };
        Ok(config.layer(name, store, principal))
    }
}

fn embedded(config: &LastKnownGoodConfig) -> Result<MokaStore, ConfigError> {
    let store = MokaStore::new(config.max_bytes, config.max_entries)?;
    if config.max_body as u64 >= config.max_bytes {
        return Err(ConfigError::new("max_body", config.max_body.to_string(), "less than max_bytes"));
    }
    Ok(store)
}

impl<St> fmt::Debug for LastKnownGoodBuilder<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LastKnownGoodBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
