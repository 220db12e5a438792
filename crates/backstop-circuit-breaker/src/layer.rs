//! The layer.

use std::{borrow::Cow, fmt, sync::Arc};

use backstop_core::{ConfigError, Name};
use backstop_kit::{ErrorText, Http};
use tower_layer::Layer;

use crate::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerConfig, CircuitBreakerHandle, Preset,
    breaker::Breaker,
    circuit_group::CircuitGroup,
    config::Settings,
    layer_state::{CircuitRef, LayerState},
};

/// Stops calling a service that fails. See the [crate docs](crate).
///
/// `P` is how it judges results, refuses calls and observes responses: see [`Protocol`](backstop_kit::Protocol).
///
/// The circuit belongs to the layer: all its clones and all services that it is applied to share it.
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct CircuitBreakerLayer<P = Http> {
    state: Arc<LayerState<P>>,
}

impl CircuitBreakerLayer {
    /// Opens after 5 failures in a row, for 60 s, and closes after 2 successful probes.
    pub fn new(name: Name) -> Self {
        Self::with(name, &Settings::default(), ErrorText::default(), Http::default())
    }

    /// The settings of a [`Preset`](crate::Preset), and defaults for the rest.
    pub fn with_preset(name: Name, preset: Preset) -> Self {
        let config = CircuitBreakerConfig::new(name.as_str().to_owned()).preset(preset);
        // A preset is valid, so this never falls back to the defaults.
        let settings = config.check().map_or_else(|_| Settings::default(), |(_, settings)| settings);
        Self::with(name, &settings, ErrorText::default(), Http::default())
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

impl<P> CircuitBreakerLayer<P> {
    pub(crate) fn with(name: Name, settings: &Settings, error_text: ErrorText, protocol: P) -> Self {
        let group = CircuitGroup::new(name, settings, error_text, false);
        let breaker = Breaker::new(Arc::new(group), &settings.circuit);
        breaker.show_state();
        Self { state: Arc::new(LayerState::new(breaker, protocol)) }
    }

    /// Shows and controls the circuit.
    #[must_use]
    pub fn handle(&self) -> CircuitBreakerHandle {
        CircuitBreakerHandle::new(self.state.breaker.clone())
    }
}

impl<P> Clone for CircuitBreakerLayer<P> {
    fn clone(&self) -> Self {
        Self { state: Arc::clone(&self.state) }
    }
}

impl<P> fmt::Debug for CircuitBreakerLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.breaker().debug(f.debug_struct("CircuitBreakerLayer"))
    }
}

impl<S, P> Layer<S> for CircuitBreakerLayer<P> {
    type Service = CircuitBreaker<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        // The recorder may have been installed since.
        self.state.breaker().show_state();
        CircuitBreaker::new(inner, Arc::clone(&self.state))
    }
}

impl<P> CircuitBreakerBuilder<P> {
    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is no [`Name`](crate::Name), for a value outside its range, and for settings
    /// that contradict one another.
    pub fn build(self) -> Result<CircuitBreakerLayer<P>, ConfigError> {
        let Self { config, error_text, protocol } = self;
        let (name, settings) = config.check()?;
        Ok(CircuitBreakerLayer::with(name, &settings, error_text, protocol))
    }
}
