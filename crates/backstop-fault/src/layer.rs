//! The layer.

use std::{borrow::Cow, fmt, marker::PhantomData, sync::Arc};

use backstop_core::{ConfigError, Name};
use tower_layer::Layer;

use crate::{
    FaultBuilder, FaultConfig, FaultHandle, FaultService, HttpFaults, conditions::Conditions, config::Settings,
    injector::Injector,
};

/// Makes a share of the calls of a service fail, on purpose. See the [crate docs](crate).
///
/// `F` makes the failures ([`MakeFault`](crate::MakeFault)). The runs belong to the layer: all its clones, and all services that it is
/// applied to, share them.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FaultLayer<F = HttpFaults> {
    injector: Arc<Injector>,
    faults: PhantomData<fn() -> F>,
}

impl FaultLayer {
    /// A layer that isn't armed: it does nothing.
    pub fn new(name: Name) -> Self {
        Self::with(Injector::new(name, Settings::default(), Conditions::default()))
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_fault::FaultLayer;
    ///
    /// let error = FaultLayer::builder("edge").arm().build().unwrap_err();
    /// assert_eq!(error.to_string(), "level is none, allowed is: a level, or `without_health`, in a layer that is armed");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FaultBuilder {
        FaultBuilder::new(FaultConfig::new(name))
    }

    /// Builds a layer with the settings of `config`: for a layer that is armed by a file.
    pub fn builder_from(config: FaultConfig) -> FaultBuilder {
        FaultBuilder::new(config)
    }

    /// The layer that `config` describes. If it is armed, use [`builder_from`](Self::builder_from), and add a level.
    ///
    /// # Errors
    /// As [`FaultBuilder::build`].
    pub fn from_config(config: FaultConfig) -> Result<Self, ConfigError> {
        FaultBuilder::new(config).build()
    }
}

impl<F> FaultLayer<F> {
    pub(crate) fn with(injector: Injector) -> Self {
        Self { injector: Arc::new(injector), faults: PhantomData }
    }

    /// A handle that starts, shows and stops runs.
    #[must_use]
    pub fn handle(&self) -> FaultHandle {
        FaultHandle::new(Arc::clone(&self.injector))
    }
}

impl<F> Clone for FaultLayer<F> {
    fn clone(&self) -> Self {
        Self { injector: Arc::clone(&self.injector), faults: PhantomData }
    }
}

impl<F> fmt::Debug for FaultLayer<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultLayer").field("injector", &self.injector).finish_non_exhaustive()
    }
}

impl<S, F> Layer<S> for FaultLayer<F> {
    type Service = FaultService<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        FaultService::new(inner, Arc::clone(&self.injector))
    }
}
