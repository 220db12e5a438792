//! The layer.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use backstop_core::{ConfigError, HttpReject, Name};
use tower_layer::Layer;

use crate::{
    Bulkhead, BulkheadBuilder, BulkheadConfig, BulkheadHandle, UntilBodyEnd, UntilHeaders, config::Settings, room::Room,
};

/// Bounds how many calls of a service run, and how many wait. See the [crate docs](crate).
///
/// `J` is how it answers when there is no room ([`Reject`](backstop_core::Reject)); `O` is until when a call holds its
/// permit ([`Until`](crate::Until)).
///
/// The permits belong to the layer: all its clones and all services that it is applied to share them.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BulkheadLayer<J = HttpReject, O = UntilBodyEnd> {
    shared: Arc<Shared<J>>,
    until: PhantomData<fn() -> O>,
}

/// What all services of a layer share. Aligned to a cache line, apart from the reference count, which every call changes.
#[repr(align(64))]
pub(crate) struct Shared<J> {
    // Apart, for bodies and handles: they need nothing of `J`.
    pub(crate) room: Arc<Room>,
    pub(crate) reject: J,
}

impl BulkheadLayer {
    /// At most 100 calls run, and 100 more wait for at most 1 s.
    pub fn new(name: Name) -> Self {
        Self::with(name, &Settings::default(), HttpReject::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_bulkhead::BulkheadLayer;
    ///
    /// let error = BulkheadLayer::builder("ml_service").max_concurrent(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_concurrent is 0, allowed is: 1 to 1000000");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> BulkheadBuilder {
        BulkheadBuilder::new(BulkheadConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`BulkheadBuilder::build`].
    pub fn from_config(config: BulkheadConfig) -> Result<Self, ConfigError> {
        BulkheadBuilder::new(config).build()
    }
}

impl<J, O> BulkheadLayer<J, O> {
    pub(crate) fn with(name: Name, settings: &Settings, reject: J) -> Self {
        let room = Arc::new(Room::new(name, settings));
        room.show_in_use();
        Self { shared: Arc::new(Shared { room, reject }), until: PhantomData }
    }

    /// The same layer, with the same permits, which gives each back when the response head is there: see
    /// [`BulkheadBuilder::until_headers`].
    pub fn until_headers(self) -> BulkheadLayer<J, UntilHeaders> {
        BulkheadLayer { shared: self.shared, until: PhantomData }
    }

    /// Looks at the bulkhead and resizes it.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(&self.shared.room))
    }
}

impl<J, O> Clone for BulkheadLayer<J, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), until: PhantomData }
    }
}

impl<J, O> fmt::Debug for BulkheadLayer<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("room", &self.shared.room).finish_non_exhaustive()
    }
}

impl<S, J, O> Layer<S> for BulkheadLayer<J, O> {
    type Service = Bulkhead<S, J, O>;

    fn layer(&self, inner: S) -> Self::Service {
        // Again, as the recorder may have been installed since.
        self.shared.room.show_in_use();
        Bulkhead::new(inner, Arc::clone(&self.shared))
    }
}
