//! What the services of a layer and its handles share.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_core::ConfigError;
use backstop_kit::Registration;
use http::{HeaderName, Request, request};

use crate::{LastKnownGoodConfig, entry_store::EntryStore, key::Owner};

pub(crate) struct LayerState<St> {
    pub(crate) entries: EntryStore<St>,
    pub(crate) max_body: AtomicUsize,
    pub(crate) credentials: Vec<HeaderName>,
    pub(crate) capacity: Capacity,
    pub(crate) has_embedded_store: bool,
    pub(crate) principal: Option<Principal>,
    pub(crate) _registration: Registration,
}

/// The configured capacity of the embedded store.
pub(crate) struct Capacity {
    pub(crate) max_bytes: u64,
    pub(crate) max_entries: u64,
}

/// Returns the principal of a request.
pub(crate) type Principal = Arc<dyn Fn(&request::Parts) -> Option<Box<[u8]>> + Send + Sync>;

impl<St> LayerState<St> {
    pub(crate) fn max_body(&self) -> usize {
        self.max_body.load(Relaxed)
    }

    /// Checks settings for a [reload](Self::reload).
    pub(crate) fn check(&self, config: &LastKnownGoodConfig) -> Result<(), ConfigError> {
        let as_built = |field, value, built, allowed: &'static str| {
            if built { Ok(()) } else { Err(ConfigError::new(field, value, allowed)) }
        };
        let stored = "what the layer was built with: stored answers are shared by it";
        let capacity = "what the store was built with: it can't be resized";
        let name = config.check()?;
        as_built("name", name.to_string(), name == self.entries.name, "the layer's own")?;
        let same = config.credentials == self.credentials;
        as_built("credentials", format!("{:?}", config.credentials), same, stored)?;
        as_built("max_bytes", config.max_bytes.to_string(), config.max_bytes == self.capacity.max_bytes, capacity)?;
        let same = config.max_entries == self.capacity.max_entries;
        as_built("max_entries", config.max_entries.to_string(), same, capacity)?;
        if self.has_embedded_store { config.check_fit() } else { Ok(()) }
    }

    /// Changes the settings. What is stored stays.
    pub(crate) fn reload(&self, config: &LastKnownGoodConfig) {
        self.entries.max_stale.set(config.max_stale);
        self.entries.store_timeout.set(config.store_timeout);
        self.max_body.store(config.max_body, Relaxed);
    }

    pub(crate) fn owner(&self, head: &request::Parts) -> Owner {
        match &self.principal {
            None => Owner::Unpartitioned,
            Some(principal) => principal(head).map_or(Owner::Anonymous, Owner::Principal),
        }
    }

    /// The request is taken apart only if there is a closure, which needs its head.
    pub(crate) fn owner_of_request<B>(&self, request: Request<B>) -> (Owner, Request<B>) {
        if self.principal.is_none() {
            return (Owner::Unpartitioned, request);
        }
        let (head, body) = request.into_parts();
        (self.owner(&head), Request::from_parts(head, body))
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.entries.name)
            .field("max_stale", &self.entries.max_stale)
            .field("max_body", &self.max_body())
            .finish_non_exhaustive()
    }
}
