//! The layer.

use std::{borrow::Cow, fmt, sync::Arc};

use backstop_core::{ConfigError, Name};
use http::{HeaderName, Request, request};
use tower_layer::Layer;

use crate::{
    LastKnownGood, LastKnownGoodBuilder, LastKnownGoodConfig, LastKnownGoodHandle, MokaStore,
    key::Owner,
    moka_store::{DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES},
    shelf::Shelf,
};

/// Stores good answers, to be served when the service fails. See the [crate docs](crate).
///
/// `St` is where they are stored.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct LastKnownGoodLayer<St = MokaStore> {
    shared: Arc<Shared<St>>,
}

/// What all services of a layer share.
pub(crate) struct Shared<St> {
    pub(crate) shelf: Shelf<St>,
    pub(crate) max_body: usize,
    pub(crate) credentials: Vec<HeaderName>,
    pub(crate) principal: Option<Principal>,
}

/// Tells who asks.
pub(crate) type Principal = Arc<dyn Fn(&request::Parts) -> Option<Box<[u8]>> + Send + Sync>;

impl LastKnownGoodLayer {
    /// Stores in memory, up to 64 MiB, what may be shared by all who ask; serves it up to an age of 24 h.
    pub fn new(name: Name) -> Self {
        let store = MokaStore::within(DEFAULT_MAX_BYTES, DEFAULT_MAX_ENTRIES);
        LastKnownGoodConfig::new(name.clone()).layer(name, store, None)
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

impl<St> LastKnownGoodLayer<St> {
    pub(crate) fn with(shared: Shared<St>) -> Self {
        Self { shared: Arc::new(shared) }
    }
}

impl<St: crate::Store> LastKnownGoodLayer<St> {
    /// Gives what is stored, and forgets it.
    #[must_use]
    pub fn handle(&self) -> LastKnownGoodHandle<St> {
        LastKnownGoodHandle::new(Arc::clone(&self.shared))
    }
}

impl<St> Shared<St> {
    pub(crate) fn owner(&self, head: &request::Parts) -> Owner {
        match &self.principal {
            None => Owner::Everyone,
            Some(principal) => principal(head).map_or(Owner::Nobody, Owner::Principal),
        }
    }

    /// The closure looks at a head, so the request is taken apart for it, where there is one.
    pub(crate) fn owner_of_request<B>(&self, request: Request<B>) -> (Owner, Request<B>) {
        if self.principal.is_none() {
            return (Owner::Everyone, request);
        }
        let (head, body) = request.into_parts();
        (self.owner(&head), Request::from_parts(head, body))
    }

    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.shelf.name)
            .field("max_stale", &self.shelf.max_stale)
            .field("max_body", &self.max_body)
            .finish_non_exhaustive()
    }
}

impl<St> Clone for LastKnownGoodLayer<St> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<St> fmt::Debug for LastKnownGoodLayer<St> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(f.debug_struct("LastKnownGoodLayer"))
    }
}

impl<S, St> Layer<S> for LastKnownGoodLayer<St> {
    type Service = LastKnownGood<S, St>;

    fn layer(&self, inner: S) -> Self::Service {
        LastKnownGood::new(inner, Arc::clone(&self.shared))
    }
}
