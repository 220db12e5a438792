//! The configuration.

use std::{borrow::Cow, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::RepeatRule;
use http::HeaderName;

use crate::{Backoff, RetryBudget, backoff::Waits};

mod builder;

pub use builder::RetryBuilder;

const DEFAULT_MAX_ATTEMPTS: u32 = 3;
const DEFAULT_BACKOFF_BASE: Duration = Duration::from_millis(100);
const DEFAULT_BACKOFF_CAP: Duration = Duration::from_secs(10);
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(10);
const DEFAULT_TOTAL: Duration = Duration::from_secs(60);
const DEFAULT_MAX_BODY: usize = 64 * 1024;

const MOST_ATTEMPTS: u32 = 1000;
/// More than 0 s.
const MOMENT: Duration = Duration::from_nanos(1);
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A retry as plain data, for [`RetryLayer::from_config`](crate::RetryLayer::from_config). Each field is documented on the
/// builder's method, with its default.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`RetryBuilder::max_attempts`].
    pub max_attempts: u32,
    /// See [`RetryBuilder::backoff`].
    pub backoff: Backoff,
    /// See [`RetryBuilder::backoff_base`]. If `None`: 100 ms, or `backoff_cap` if that is less.
    pub backoff_base: Option<Duration>,
    /// See [`RetryBuilder::backoff_cap`]. If `None`: 10 s, or `total` if that is less or the backoff is constant.
    pub backoff_cap: Option<Duration>,
    /// See [`RetryBuilder::max_retry_after`]. If `None`: 10 s, or `total` if that is less.
    pub max_retry_after: Option<Duration>,
    /// See [`RetryBuilder::total`].
    pub total: Duration,
    /// See [`RetryBuilder::max_body`].
    pub max_body: usize,
    /// See [`RetryBuilder::repeat_when`] and [`RetryBuilder::trust_idempotency_key`].
    pub repeat: RepeatRule,
    /// See [`RetryBuilder::attempt_header`].
    pub attempt_header: Option<HeaderName>,
    /// See [`RetryBuilder::budget`] and [`RetryBuilder::no_budget`].
    pub budget: Budget,
    /// See [`RetryBuilder::seed`].
    pub seed: Option<u64>,
}

impl RetryConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            backoff: Backoff::FullJitter,
            backoff_base: None,
            backoff_cap: None,
            max_retry_after: None,
            total: DEFAULT_TOTAL,
            max_body: DEFAULT_MAX_BODY,
            repeat: RepeatRule::new(),
            attempt_header: None,
            budget: Budget::Own,
            seed: None,
        }
    }
}

/// What pays for a layer's retries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// The layer's own budget, with the [defaults](RetryBudget::default). Each layer that is built gets a new one.
    #[default]
    Own,
    /// This one, which other layers may share.
    Shared(RetryBudget),
    /// None: only the attempts of each request are limited.
    Unlimited,
}

/// A checked configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) max_attempts: u32,
    pub(crate) waits: Waits,
    pub(crate) max_retry_after: Duration,
    pub(crate) total: Duration,
    pub(crate) repeat: RepeatRule,
    pub(crate) attempt_header: Option<HeaderName>,
}

impl Settings {
    /// The defaults.
    pub(crate) const fn new(name: Name) -> Self {
        Self {
            name,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            waits: Waits::new(Backoff::FullJitter, DEFAULT_BACKOFF_BASE, DEFAULT_BACKOFF_CAP),
            max_retry_after: DEFAULT_MAX_RETRY_AFTER,
            total: DEFAULT_TOTAL,
            repeat: RepeatRule::new(),
            attempt_header: None,
        }
    }

    pub(crate) fn check(config: RetryConfig) -> Result<Self, ConfigError> {
        let name = Name::new(config.name)?;
        let max_attempts =
            ConfigError::check_range("max_attempts", config.max_attempts, 1..=MOST_ATTEMPTS, "1 to 1000")?;
        let total = config.total;
        ConfigError::check_range("total", total, MOMENT..=LONGEST_TOTAL, "more than 0 s, up to 24 h")?;
        let default_cap = match config.backoff {
            // Nothing grows.
            Backoff::Constant => total,
            _ => DEFAULT_BACKOFF_CAP.min(total),
        };
        let cap = config.backoff_cap.unwrap_or(default_cap);
        ConfigError::check_range("backoff_cap", cap, MOMENT..=total, "more than 0 s, up to the total")?;
        let base = config.backoff_base.unwrap_or(DEFAULT_BACKOFF_BASE.min(cap));
        ConfigError::check_range("backoff_base", base, MOMENT..=cap, "more than 0 s, up to the backoff's cap")?;
        let max_retry_after = config.max_retry_after.unwrap_or(DEFAULT_MAX_RETRY_AFTER.min(total));
        ConfigError::check_range("max_retry_after", max_retry_after, ..=total, "0 s up to the total")?;
        Ok(Self {
            name,
            max_attempts,
            waits: Waits::new(config.backoff, base, cap),
            max_retry_after,
            total,
            repeat: config.repeat,
            attempt_header: config.attempt_header,
        })
    }
}

#[cfg(test)]
mod tests;
