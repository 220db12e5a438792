//! What the services of a layer and its handles share.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use backstop_core::{ConfigError, EventLog};
use backstop_kit::Registration;
use http::{HeaderName, Request, request};

use crate::{
    LastKnownGoodConfig, Store,
    background::Background,
    entry_store::{EntryStore, PendingEntry},
    key::Owner,
    path::Path,
    running::NotStarted,
    store_failure::StoreFailure,
};

pub(crate) struct LayerState<St> {
    pub(crate) entries: EntryStore<St>,
    /// If the store is the second of two tiers.
    pub(crate) background: Option<Background>,
    pub(crate) max_body: AtomicUsize,
    pub(crate) credentials: Vec<HeaderName>,
    pub(crate) capacity: Capacity,
    pub(crate) has_embedded_store: bool,
    pub(crate) principal: Option<Principal>,
    pub(crate) log: OnceLock<EventLog>,
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
        config.check_while_open(self.entries.context.staleness.knows_circuit())?;
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
        self.entries.context.staleness.set(config.max_stale, config.max_stale_while_open);
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
            .field("staleness", &self.entries.context.staleness)
            .field("max_body", &self.max_body())
            .finish_non_exhaustive()
    }
}

impl<St: Store> LayerState<St> {
    /// Stores an answer. With two tiers, the caller waits only for memory, which is always ready.
    pub(crate) async fn put(self: Arc<Self>, mut answer: PendingEntry) {
        let (Some(background), Some(local)) = (&self.background, self.entries.local()) else {
            return self.entries.put(self.entries.last(), &mut answer).await;
        };
        // Identical answers that end at the same time are stored once.
        let mut key = Path::of(&answer.partition).variant(&answer.selecting.variant_in(&answer.fields));
        key.push(b'p');
        let permit = match background.start(key) {
            Ok(permit) => permit,
            Err(reason) => {
                if reason == NotStarted::Full {
                    self.entries.record_failure("put", &StoreFailure::Busy);
                }
                return self.entries.put(local, &mut answer).await;
            }
        };
        self.entries.put(local, &mut answer.clone()).await;
        let this = Arc::clone(&self);
        background.execute(Box::pin(async move {
            this.entries.put_in_background(&answer).await;
            drop(permit);
        }));
    }
}
