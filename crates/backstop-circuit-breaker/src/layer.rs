//! The layer.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::Deref, sync::Arc};

use backstop_core::{ConfigError, ErrorText, HttpClassify, HttpReject, Name};
use tower_layer::Layer;

use crate::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerConfig, CircuitBreakerHandle, UntilHeaders,
    breaker::{Breaker, HasBreaker},
    common::Common,
    config::Settings,
};

/// Stops calling a service that fails. See the [crate docs](crate).
///
/// `C` judges results ([`Classify`](backstop_core::Classify)), and `J` is how it answers while the circuit is open
/// ([`Reject`](backstop_core::Reject)); `O` is until when it watches a call ([`Observe`](crate::Observe)).
///
/// The circuit belongs to the layer: all its clones and all services that it is applied to share it.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CircuitBreakerLayer<C = HttpClassify, J = HttpReject, O = UntilHeaders> {
    shared: Arc<Shared<C, J>>,
    observe: PhantomData<fn() -> O>,
}

/// What all services of a layer share.
#[expect(unnameable_types, reason = "the default of parameters that nobody else needs to name")]
pub struct Shared<C, J> {
    pub(crate) breaker: Arc<Alone>,
    pub(crate) classify: C,
    pub(crate) reject: J,
}

/// Shares a cache line with nothing that healthy calls write, such as reference counts.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Alone(Breaker);

impl Deref for Alone {
    type Target = Breaker;

    #[inline]
    fn deref(&self) -> &Breaker {
        &self.0
    }
}

impl HasBreaker for Alone {
    fn breaker(&self) -> &Breaker {
        &self.0
    }
}

impl CircuitBreakerLayer {
    /// Opens after 5 failures in a row, for 60 s, and closes after 2 successful probes.
    pub fn new(name: Name) -> Self {
        Self::with(name, &Settings::default(), ErrorText::default(), HttpClassify::new(), HttpReject::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_circuit_breaker::CircuitBreakerLayer;
    ///
    /// let error = CircuitBreakerLayer::builder("ml_service").failure_rate(0.5).min_calls(200).build().unwrap_err();
    /// assert_eq!(error.to_string(), "min_calls is 200, allowed is: 1 to window");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> CircuitBreakerBuilder {
        CircuitBreakerBuilder::new(CircuitBreakerConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`CircuitBreakerBuilder::build`].
    pub fn from_config(config: CircuitBreakerConfig) -> Result<Self, ConfigError> {
        CircuitBreakerBuilder::new(config).build()
    }
}

impl<C, J, O> CircuitBreakerLayer<C, J, O> {
    pub(crate) fn with(name: Name, settings: &Settings, error_text: ErrorText, classify: C, reject: J) -> Self {
        let common = Common::new(name, settings, error_text, false);
        let breaker = Arc::new(Alone(Breaker::new(Arc::new(common), &settings.circuit)));
        breaker.show_state();
        Self { shared: Arc::new(Shared { breaker, classify, reject }), observe: PhantomData }
    }

    /// Looks at the circuit and acts on it.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(self.shared.breaker.clone())
    }
}

impl<C, J, O> Clone for CircuitBreakerLayer<C, J, O> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared), observe: PhantomData }
    }
}

impl<C, J, O> fmt::Debug for CircuitBreakerLayer<C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.breaker.debug(f.debug_struct("CircuitBreakerLayer"))
    }
}

impl<C, J> fmt::Debug for Shared<C, J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.breaker.debug(f.debug_struct("Shared"))
    }
}

impl<S, C, J, O> Layer<S> for CircuitBreakerLayer<C, J, O> {
    type Service = CircuitBreaker<S, C, J, O>;

    fn layer(&self, inner: S) -> Self::Service {
        // The recorder may have been installed since.
        self.shared.breaker.show_state();
        CircuitBreaker::new(inner, Arc::clone(&self.shared))
    }
}
