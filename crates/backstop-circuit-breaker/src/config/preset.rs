//! Settings that fit kinds of dependencies.

use std::time::Duration;

use super::{
    CircuitBreakerBuilder, CircuitBreakerConfig,
    choices::{OnDrop, SlowCalls, Wait, Window},
    recovery::Recovery,
};

/// Settings that fit a kind of dependency, where the defaults don't: see [`preset`](crate::CircuitBreakerBuilder::preset).
///
/// The [table](crate#defaults-and-presets) has their values, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// Nothing is known about the traffic: opens on ten failures in a row, or when half of the last calls failed.
    General,
    /// A user waits for the answer: opens soon, also on slow calls, and probes again soon.
    LatencyCritical,
    /// No user waits for the answer, and calls may take minutes: opens late, and waits long before a probe.
    Batch,
    /// So many calls that a few of them always fail: opens on a share of failures or on many in a row, and closes on many
    /// probes and a ramp.
    HighVolume,
}

impl Preset {
    /// Sets the preset's knobs, and leaves the rest.
    pub(crate) const fn apply(self, config: CircuitBreakerConfig) -> CircuitBreakerConfig {
        let mut config = config;
        match self {
            Self::General => {
                config.consecutive_failures = Some(10);
                config.failure_rate = Some(0.5);
            }
            Self::LatencyCritical => {
                config.failure_rate = Some(0.5);
                config.slow_calls = Some(SlowCalls::new(Duration::from_millis(500), 0.5));
                config.window = Some(Window::Time(Duration::from_secs(10)));
                config.min_calls = Some(20);
                config.wait = Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(60) };
                config.success_threshold = 3;
                config.probe_lease = Duration::from_secs(5);
                config.on_drop = OnDrop::FailureAfter(Duration::from_secs(1));
            }
            Self::Batch => {
                config.consecutive_failures = Some(10);
                config.wait = Wait::Growing { first: Duration::from_secs(30), max: Duration::from_secs(600) };
                config.respect_retry_after = Some(Duration::from_secs(600));
                config.success_threshold = 1;
                config.probe_lease = Duration::from_secs(300);
                config.on_drop = OnDrop::FailureAfter(Duration::from_secs(60));
            }
            Self::HighVolume => {
                config.consecutive_failures = Some(20);
                config.failure_rate = Some(0.1);
                config.window = Some(Window::Time(Duration::from_secs(30)));
                config.min_calls = Some(100);
                config.wait = Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(60) };
                config.success_threshold = 10;
                config.max_concurrent_probes = 5;
                config.recovery = Recovery::ramp([0.01, 0.05, 0.25, 0.5]);
            }
        }
        config
    }
}

impl CircuitBreakerConfig {
    /// Sets the knobs of a [`Preset`]. Fields set afterwards override it.
    #[must_use]
    pub const fn preset(self, preset: Preset) -> Self {
        preset.apply(self)
    }

    /// As [`preset`](Self::preset), if nothing says which failures open the circuit.
    #[must_use]
    pub const fn or_preset(self, preset: Preset) -> Self {
        if self.consecutive_failures.is_none() && self.failure_rate.is_none() { self.preset(preset) } else { self }
    }
}

impl<P> CircuitBreakerBuilder<P> {
    /// Sets the knobs of a [`Preset`], and leaves the others as they are. Knobs set afterwards override it.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, Preset};
    ///
    /// let breaker = CircuitBreakerLayer::builder("search")
    ///     .preset(Preset::LatencyCritical)
    ///     .slow_calls(Duration::from_millis(200), 0.5) // instead of the preset's 500 ms
    ///     .build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn preset(mut self, preset: Preset) -> Self {
        self.config = self.config.preset(preset);
        self
    }

    /// As [`preset`](Self::preset), if nothing has said so far which failures open the circuit.
    pub fn or_preset(mut self, preset: Preset) -> Self {
        self.config = self.config.or_preset(preset);
        self
    }
}
