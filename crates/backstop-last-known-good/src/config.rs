//! The configuration.

use std::{
    borrow::Cow,
    sync::{OnceLock, atomic::AtomicUsize},
    time::Duration,
};

use backstop_core::{ConfigError, Name};
use backstop_kit::Registration;
use http::HeaderName;

use crate::{
    LastKnownGoodLayer, MokaStore, Store,
    background::Background,
    entry_context::EntryContext,
    entry_store::EntryStore,
    layer_state::{Capacity, LayerState, Principal},
    moka_store::{DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES},
    staleness::{IsOpen, Staleness},
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
///     ## max_stale_while_open = "72h"   # max_stale to 365 days; not set
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
    /// See [`max_stale`](crate::LastKnownGoodBuilder::max_stale).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_stale: Duration,
    /// See [`max_stale_while_open`](crate::LastKnownGoodBuilder::max_stale_while_open).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_stale_while_open: Option<Duration>,
    /// See [`max_body`](crate::LastKnownGoodBuilder::max_body).
    pub max_body: usize,
    /// See [`store_timeout`](crate::LastKnownGoodBuilder::store_timeout).
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub store_timeout: Duration,
    /// See [`credentials`](crate::LastKnownGoodBuilder::credentials).
    #[cfg_attr(feature = "serde", serde(with = "backstop_kit::as_text::vec"))]
    pub credentials: Vec<HeaderName>,
    /// See [`max_bytes`](crate::LastKnownGoodBuilder::max_bytes).
    pub max_bytes: u64,
    /// See [`max_entries`](crate::LastKnownGoodBuilder::max_entries).
    pub max_entries: u64,
}

impl LastKnownGoodConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            max_stale: DEFAULT_MAX_STALE,
            max_stale_while_open: None,
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
        if let Some(age) = self.max_stale_while_open {
            let range = self.max_stale..=LONGEST_MAX_STALE;
            ConfigError::check_range("max_stale_while_open", age, range, "max_stale to 365 days")?;
        }
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

    /// Checks that somebody says whether the circuit is open, if that matters.
    pub(crate) fn check_while_open(&self, knows_circuit: bool) -> Result<(), ConfigError> {
        match self.max_stale_while_open {
            Some(age) if !knows_circuit => {
                let allowed = "only together with `circuit_is_open`";
                Err(ConfigError::new("max_stale_while_open", format!("{age:?}"), allowed))
            }
            _ => Ok(()),
        }
    }

    /// The layer with these settings, which are valid.
    pub(crate) fn layer<St: Store>(self, name: Name, stores: Stores<St>, parts: Parts) -> LastKnownGoodLayer<St> {
        let Parts { principal, is_open } = parts;
        let staleness = Staleness::new(self.max_stale, self.max_stale_while_open, is_open);
        let (has_embedded_store, local, store, background) = match stores {
            Stores::Embedded(store) => (true, None, store, None),
            Stores::Provided(store) => (false, None, store, None),
            Stores::Tiers { local, store, background } => (true, Some(local), store, Some(background)),
        };
        let context = EntryContext::new(staleness);
        LastKnownGoodLayer::with(LayerState {
            log: OnceLock::new(),
            _registration: Registration::new("last-known-good", name.clone()),
            entries: EntryStore::new(name, local, store, context, self.store_timeout),
            background,
            max_body: AtomicUsize::new(self.max_body),
            credentials: self.credentials,
            capacity: Capacity { max_bytes: self.max_bytes, max_entries: self.max_entries },
            has_embedded_store,
            principal,
        })
    }
}

/// What isn't plain data.
#[derive(Clone, Default)]
pub(crate) struct Parts {
    pub(crate) principal: Option<Principal>,
    pub(crate) is_open: Option<IsOpen>,
}

/// The stores of a layer.
pub(crate) enum Stores<St> {
    Embedded(St),
    Provided(St),
    Tiers { local: MokaStore, store: St, background: Background },
}

impl LastKnownGoodLayer {
    /// Stores shared answers in memory, up to 64 MiB, and serves them up to an age of 24 h.
    pub fn new(name: Name) -> Self {
        let store = MokaStore::within(DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES);
        LastKnownGoodConfig::new(name.clone()).layer(name, Stores::Embedded(store), Parts::default())
    }
}
