//! The builder.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::ConfigError;
use http::{HeaderName, request};

use crate::{
    BackgroundTask, LastKnownGoodConfig, LastKnownGoodLayer, MokaStore, Store,
    background::Background,
    config::{Parts, Stores},
    running::Execute,
};

impl LastKnownGoodLayer {
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
    parts: Parts,
}

/// The source of the store.
#[derive(Clone)]
enum Source<St> {
    Embedded(fn(&LastKnownGoodConfig) -> Result<St, ConfigError>),
    Provided(St),
    Shared(St, Execute),
}

impl LastKnownGoodBuilder {
    pub(crate) fn new(config: LastKnownGoodConfig) -> Self {
        Self { config, store: Source::Embedded(embedded), parts: Parts::default() }
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
    ///
    /// The end of an answer waits until it is stored, at most [`store_timeout`](Self::store_timeout). For a store over a network
    /// use [`shared_store`](Self::shared_store), which nobody waits for.
    pub fn store<St: Store>(self, store: St) -> LastKnownGoodBuilder<St> {
        LastKnownGoodBuilder { config: self.config, store: Source::Provided(store), parts: self.parts }
    }

    /// Keeps answers in two tiers: in the memory of this process, and in `store`, which outlives it.
    ///
    /// An answer is stored in memory at once, and in `store` by `execute`, which must spawn the task and return. No caller
    /// waits for that. At most 256 answers are on their way to the store at a time, and of identical ones only one; others are
    /// stored in memory alone. The [crate docs](crate#two-tiers) say what is found where, and what a removal reaches.
    ///
    /// ```
    /// use backstop_last_known_good::{LastKnownGoodLayer, MokaStore};
    ///
    /// # let redis = MokaStore::new(1 << 20, 100)?;
    /// let layer = LastKnownGoodLayer::builder("catalogue")
    ///     .shared_store(redis, |task| drop(tokio::spawn(task)))
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    pub fn shared_store<St: Store>(
        self,
        store: St,
        execute: impl Fn(BackgroundTask) + Send + Sync + 'static,
    ) -> LastKnownGoodBuilder<St> {
        let store = Source::Shared(store, Arc::new(execute));
        LastKnownGoodBuilder { config: self.config, store, parts: self.parts }
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

    /// The age up to which an answer is served while the circuit of the service is open: `max_stale` to 365 days. Default: not set,
    /// so that [`max_stale`](Self::max_stale) always bounds the age.
    ///
    /// While the circuit is open, no newer answer can come, and an older one may be better than none. Answers are kept for that
    /// long. What an answer says about itself, such as `stale-if-error`, bounds its age all the same. Needs
    /// [`circuit_is_open`](Self::circuit_is_open).
    pub fn max_stale_while_open(mut self, age: Duration) -> Self {
        self.config.max_stale_while_open = Some(age);
        self
    }

    /// Says whether the circuit of the service is open, for [`max_stale_while_open`](Self::max_stale_while_open). Called when an
    /// answer is looked for, so it must return at once.
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_last_known_good::LastKnownGoodLayer;
    ///
    /// # let circuit_is_open = || false;
    /// let hour = Duration::from_secs(3600);
    /// let layer = LastKnownGoodLayer::builder("catalogue")
    ///     .max_stale(hour)
    ///     .max_stale_while_open(hour * 24)
    ///     // With `backstop-circuit-breaker`: `move || circuit.state() != CircuitState::Closed`
    ///     .circuit_is_open(circuit_is_open)
    ///     .build()?;
    /// # let _ = layer;
    /// # Ok::<(), backstop_last_known_good::ConfigError>(())
    /// ```
    pub fn circuit_is_open(mut self, is_open: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        self.parts.is_open = Some(Arc::new(is_open));
        self
    }

    /// All settings at once, which replace those that were set before.
    pub fn with_config(mut self, config: LastKnownGoodConfig) -> Self {
        self.config = config;
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
        self.parts.principal = Some(Arc::new(move |head| principal(head).map(|principal| principal.as_ref().into())));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a valid [`Name`](crate::Name), or a value is out of range.
    pub fn build(self) -> Result<LastKnownGoodLayer<St>, ConfigError> {
        let Self { config, store, parts } = self;
        let name = config.check()?;
        config.check_while_open(parts.is_open.is_some())?;
        let stores = match store {
            Source::Embedded(make) => Stores::Embedded(make(&config)?),
            Source::Provided(store) => Stores::Provided(store),
            Source::Shared(store, execute) => {
                Stores::Tiers { local: embedded(&config)?, store, background: Background::new(execute) }
            }
        };
        Ok(config.layer(name, stores, parts))
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
