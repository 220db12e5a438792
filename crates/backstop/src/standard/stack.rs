//! A stack's parts and their settings, which are reloaded together.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use backstop_core::ConfigError;
use backstop_kit::ReloadPart;

use super::{StandardConfig, config::CIRCUIT_BREAKER};
use crate::{
    BulkheadConfig, BulkheadHandle, CircuitBreakerConfig, CircuitBreakerHandle, PropagateDeadlineConfig,
    PropagateDeadlineHandle, RetryConfig, RetryHandle, TimeoutConfig, TimeoutHandle,
};

/// A stack's settings as they were built or reloaded last. The layer shares them with all its handles.
///
/// The lock makes reloads run one after another, those of single parts too: what fits together was checked together.
#[derive(Clone)]
pub(super) struct CurrentConfig(Arc<Mutex<StandardConfig>>);

impl CurrentConfig {
    pub(super) fn new(config: StandardConfig) -> Self {
        Self(Arc::new(Mutex::new(config)))
    }

    fn lock(&self) -> MutexGuard<'_, StandardConfig> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The handles of a stack's parts, each of which checks its own settings alone, and the settings of all.
pub(super) struct Stack {
    pub(super) config: CurrentConfig,
    pub(super) retry: Option<RetryHandle>,
    pub(super) circuit_breaker: Option<CircuitBreakerHandle>,
    pub(super) bulkhead: Option<BulkheadHandle>,
    pub(super) timeout: Option<TimeoutHandle>,
    pub(super) propagate_deadline: Option<PropagateDeadlineHandle>,
}

impl Stack {
    pub(super) fn config(&self) -> StandardConfig {
        self.config.lock().clone()
    }

    /// Checks the settings of all parts, each by itself and with the others.
    pub(super) fn check(&self, config: &StandardConfig) -> Result<(), ConfigError> {
        config.check_names()?;
        let StandardConfig { name: _, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = config;
        check("retry", &self.retry, retry, RetryHandle::check)?;
        check("circuit_breaker", &self.circuit_breaker, circuit_breaker, check_circuit)?;
        check("bulkhead", &self.bulkhead, bulkhead, BulkheadHandle::check)?;
        check("timeout", &self.timeout, timeout, TimeoutHandle::check)?;
        let propagate = &self.propagate_deadline;
        check("propagate_deadline", propagate, propagate_deadline, PropagateDeadlineHandle::check)?;
        config.check()
    }

    /// Changes the settings of all parts, or none.
    pub(super) fn reload(&self, config: StandardConfig) -> Result<(), ConfigError> {
        let mut current = self.config.lock();
        self.check(&config)?;
        current.clone_from(&config);
        let StandardConfig { name: _, retry, circuit_breaker, bulkhead, timeout, propagate_deadline } = config;
        reload(&self.retry, retry, RetryHandle::reload)?;
        reload(&self.circuit_breaker, circuit_breaker, reload_circuit)?;
        reload(&self.bulkhead, bulkhead, BulkheadHandle::reload)?;
        reload(&self.timeout, timeout, TimeoutHandle::reload)?;
        reload(&self.propagate_deadline, propagate_deadline, PropagateDeadlineHandle::reload)
    }
}

/// Makes the handle of a part reload through its stack.
macro_rules! reload_part {
    ($part:ident: $config:ty, $check:expr, $reload:expr) => {
        impl ReloadPart<$config> for Stack {
            fn check(&self, config: &$config) -> Result<(), ConfigError> {
                check(stringify!($part), &self.$part, &Some(config.clone()), $check)?;
                StandardConfig { $part: Some(config.clone()), ..self.config() }.check()
            }

            fn reload(&self, config: $config) -> Result<(), ConfigError> {
                let mut current = self.config.lock();
                let changed = StandardConfig { $part: Some(config.clone()), ..current.clone() };
                check(stringify!($part), &self.$part, &changed.$part, $check)?;
                changed.check()?;
                *current = changed;
                reload(&self.$part, Some(config), $reload)
            }
        }
    };
}

reload_part!(retry: RetryConfig, RetryHandle::check, RetryHandle::reload);
reload_part!(circuit_breaker: CircuitBreakerConfig, check_circuit, reload_circuit);
reload_part!(bulkhead: BulkheadConfig, BulkheadHandle::check, BulkheadHandle::reload);
reload_part!(timeout: TimeoutConfig, TimeoutHandle::check, TimeoutHandle::reload);
reload_part!(propagate_deadline: PropagateDeadlineConfig, PropagateDeadlineHandle::check, PropagateDeadlineHandle::reload);

fn check_circuit(handle: &CircuitBreakerHandle, config: &CircuitBreakerConfig) -> Result<(), ConfigError> {
    handle.check(&config.clone().or_preset(CIRCUIT_BREAKER))
}

fn reload_circuit(handle: &CircuitBreakerHandle, config: CircuitBreakerConfig) -> Result<(), ConfigError> {
    handle.reload(config.or_preset(CIRCUIT_BREAKER))
}

fn check<H, C>(
    part: &'static str,
    handle: &Option<H>,
    config: &Option<C>,
    check: impl FnOnce(&H, &C) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    let refused = |value: &'static str, allowed: &'static str| Err(ConfigError::new(part, value, allowed));
    match (handle, config) {
        (Some(handle), Some(config)) => check(handle, config).map_err(|error| error.inside(part)),
        (None, None) => Ok(()),
        (Some(_), None) => refused("left out", "present, as the stack was built: a reload can't remove it"),
        (None, Some(_)) => refused("present", "left out, as the stack was built: a reload can't add it"),
    }
}

fn reload<H, C>(
    handle: &Option<H>,
    config: Option<C>,
    reload: impl FnOnce(&H, C) -> Result<(), ConfigError>,
) -> Result<(), ConfigError> {
    handle.as_ref().zip(config).map_or(Ok(()), |(handle, config)| reload(handle, config))
}
