//! The layer.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use backstop_core::{ConfigError, Name};
use backstop_kit::{HttpReject, UntilBodyEnd, UntilHeaders};
use tower_layer::Layer;

use crate::{
    Bulkhead, BulkheadBuilder, BulkheadConfig, BulkheadHandle, config::Settings, layer_state::LayerState,
    limiter::Limiter,
};

/// Limits how many calls of a service run at once, and how many wait. See the [crate docs](crate).
///
/// `R` makes the answer of a refusal ([`Reject`](backstop_kit::Reject)). `U` says until when a call holds its permit
/// ([`Until`](crate::Until)).
///
/// The permits belong to the layer: all its clones, and all services that it is applied to, share them.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct BulkheadLayer<R = HttpReject, U = UntilBodyEnd> {
    state: Arc<LayerState<R>>,
    until: PhantomData<fn() -> U>,
}

impl BulkheadLayer {
    /// A bulkhead with the default settings: at most 100 running calls, and 100 calls that wait for at most 1 s each.
    pub fn new(name: Name) -> Self {
        Self::with(name, &Settings::default(), HttpReject::default(), true)
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

impl<R, U> BulkheadLayer<R, U> {
    pub(crate) fn with(name: Name, settings: &Settings, reject: R, holds_bodies: bool) -> Self {
        let limiter = Arc::new(Limiter::new(name, settings, holds_bodies));
        limiter.show_in_use();
        Self { state: Arc::new(LayerState { limiter, reject }), until: PhantomData }
    }

    /// The same layer, with the same permits, which gives each permit back when the response head has arrived: see
    /// [`BulkheadBuilder::until_headers`].
    pub fn until_headers(self) -> BulkheadLayer<R, UntilHeaders> {
        BulkheadLayer { state: self.state, until: PhantomData }
    }

    /// A handle that shows, resizes and reloads the bulkhead.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(Arc::clone(&self.state.limiter))
    }
}

impl<R, U> Clone for BulkheadLayer<R, U> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state), until: PhantomData }
    }
}

impl<R, U> fmt::Debug for BulkheadLayer<R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadLayer").field("limiter", &self.state.limiter).finish_non_exhaustive()
    }
}

impl<S, R, U> Layer<S> for BulkheadLayer<R, U> {
    type Service = Bulkhead<S, R, U>;

    fn layer(&self, inner: S) -> Self::Service {
        // Again, because the metrics recorder may have been installed since.
        self.state.limiter.show_in_use();
        Bulkhead::new(inner, Arc::clone(&self.state))
    }
}

impl<R, U> BulkheadBuilder<R, U> {
    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if the name isn't a [`Name`](crate::Name), a value is out of range, `max_wait` is set although
    /// `max_waiting` is 0, or `max_hold` is set together with [`until_headers`](Self::until_headers).
    pub fn build(self) -> Result<BulkheadLayer<R, U>, ConfigError> {
        let holds_bodies = self.holds_bodies;
        let (name, settings) = self.config.check(holds_bodies)?;
        Ok(BulkheadLayer::with(name, &settings, self.reject, holds_bodies))
    }
}
