//! A standard stack as plain data, and the rules that its parts keep together.

use std::{borrow::Cow, time::Duration};

use backstop_core::ConfigError;

use crate::{
    BulkheadConfig, CircuitBreakerConfig, PropagateDeadlineConfig, RetryConfig, TimeoutConfig, circuit_breaker::Preset,
};

/// A standard stack as plain data, for [`Standard::from_config`](super::Standard::from_config). A part that is `None` is
/// left out.
///
/// With the feature `serde` it can be read from a file: each part is a table, or `false` to leave it out, and the name of the
/// stack is that of its parts. [`Stacks`](crate::Stacks) reads those of all dependencies from one file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct StandardConfig {
    /// The stack's [name](crate::Name). Its parts have the same name.
    pub name: Cow<'static, str>,
    /// Repeats failed requests where repeating is safe.
    pub retry: Option<RetryConfig>,
    /// Stops calling a service that fails. If neither `consecutive_failures` nor `failure_rate` is set, it has those of
    /// [`Preset::General`].
    pub circuit_breaker: Option<CircuitBreakerConfig>,
    /// Limits how many calls run, and how many wait.
    pub bulkhead: Option<BulkheadConfig>,
    /// Ends attempts that take too long.
    pub timeout: Option<TimeoutConfig>,
    /// Tells the other service how much time is left.
    pub propagate_deadline: Option<PropagateDeadlineConfig>,
}

/// What opens the circuit, unless it is set. The layer's own default, 5 failures in a row, occurs by chance in much traffic, and
/// may never occur while half of the calls fail. The traffic of a stack isn't known.
pub(super) const CIRCUIT_BREAKER: Preset = Preset::General;

impl StandardConfig {
    /// All parts with their defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        let name = name.into();
        Self {
            retry: Some(RetryConfig::new(name.clone())),
            circuit_breaker: Some(CircuitBreakerConfig::new(name.clone())),
            bulkhead: Some(BulkheadConfig::new(name.clone())),
            timeout: Some(TimeoutConfig::new(name.clone())),
            propagate_deadline: Some(PropagateDeadlineConfig::new(name.clone())),
            name,
        }
    }

    /// The same settings under another name, for the stack and all its parts.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.name = name.into();
        let names = [
            self.retry.as_mut().map(|part| &mut part.name),
            self.circuit_breaker.as_mut().map(|part| &mut part.name),
            self.bulkhead.as_mut().map(|part| &mut part.name),
            self.timeout.as_mut().map(|part| &mut part.name),
            self.propagate_deadline.as_mut().map(|part| &mut part.name),
        ];
        for part in names.into_iter().flatten() {
            part.clone_from(&self.name);
        }
        self
    }

    /// The names of the parts that it has.
    pub(super) fn part_names(&self) -> impl Iterator<Item = &Cow<'static, str>> {
        let names = [
            self.retry.as_ref().map(|part| &part.name),
            self.circuit_breaker.as_ref().map(|part| &part.name),
            self.bulkhead.as_ref().map(|part| &part.name),
            self.timeout.as_ref().map(|part| &part.name),
            self.propagate_deadline.as_ref().map(|part| &part.name),
        ];
        names.into_iter().flatten()
    }

    /// Refuses settings of one part that another part makes ineffective. Each part checks its own settings.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_names()?;
        self.check_retry()?;
        self.check_timeout()
    }

    /// Refuses a part with another name than the stack's.
    pub(super) fn check_names(&self) -> Result<(), ConfigError> {
        if let Some(other) = self.part_names().find(|name| **name != self.name) {
            return Err(ConfigError::new(
                "name",
                other.clone(),
                format!("the stack's name, {:?}, for each part", self.name),
            ));
        }
        Ok(())
    }

    /// What can't happen within the retry's total.
    fn check_retry(&self) -> Result<(), ConfigError> {
        // With one attempt the layer passes requests through, and its total limits nothing.
        let Some(retry) = self.retry.as_ref().filter(|retry| retry.max_attempts > 1) else {
            return Ok(());
        };
        let up_to = || format!("up to retry.total, which is {:?}", retry.total);
        if let Some(timeout) = &self.timeout {
            within("timeout.limit", timeout.limit, ..=retry.total, up_to)?;
        }
        if let Some(wait) = self.bulkhead.as_ref().and_then(|bulkhead| bulkhead.max_wait) {
            within("bulkhead.max_wait", wait, ..=retry.total, up_to)?;
        }
        Ok(())
    }

    /// What the timeout of an attempt makes impossible.
    fn check_timeout(&self) -> Result<(), ConfigError> {
        let Some(limit) = self.timeout.as_ref().map(|timeout| timeout.limit) else {
            return Ok(());
        };
        if let Some(breaker) = &self.circuit_breaker {
            // A probe that is within its time would lose its place to another one.
            within("circuit_breaker.probe_lease", breaker.probe_lease, limit.., || {
                format!("at least timeout.limit, which is {limit:?}")
            })?;
            if let Some(slow) = breaker.slow_calls {
                // A call ends as a failure before it could be slow.
                within("circuit_breaker.slow_calls.threshold", slow.threshold, ..limit, || {
                    format!("less than timeout.limit, which is {limit:?}")
                })?;
            }
        }
        if let Some(propagate) = &self.propagate_deadline {
            // No call would have time left.
            within("propagate_deadline.margin", propagate.margin, ..limit, || {
                format!("less than timeout.limit, which is {limit:?}")
            })?;
        }
        Ok(())
    }
}

fn within(
    field: &'static str,
    time: Duration,
    range: impl std::ops::RangeBounds<Duration>,
    allowed: impl FnOnce() -> String,
) -> Result<(), ConfigError> {
    if range.contains(&time) { Ok(()) } else { Err(ConfigError::new(field, format!("{time:?}"), allowed())) }
}
