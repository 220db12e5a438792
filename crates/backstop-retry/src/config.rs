//! The configuration.

use std::{borrow::Cow, time::Duration};

use backstop_core::{ConfigError, Name};
use backstop_kit::{HttpCopy, KeepReplaced, RepeatRule, RetryBudgetConfig};
use http::HeaderName;

use crate::{Backoff, RetryBudget, backoff::Waits};

mod builder;
#[cfg(feature = "serde")]
mod file;

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
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error. A closure or a shared budget can't be written to a file:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_retry::RetryConfig;
///
/// let config: RetryConfig = toml::from_str(r#"
///     name = "ml_service"
///     max_attempts = 3            # 1 to 1000, the first included
///     backoff = "full_jitter"     # or equal_jitter, decorrelated, constant
///     ## backoff_base = "100ms"    # more than 0 s, up to backoff_cap
///     ## backoff_cap = "10s"       # more than 0 s, up to total
///     ## max_retry_after = "10s"   # 0 s up to total
///     total = "60s"               # more than 0 s, up to 24 h
///     max_body = 65536            # 0 to 1 GiB, in bytes
///     ## attempt_header = "x-attempt"
///     ## seed = 7
///
///     [repeat]
///     trust_idempotency_key = false
///
///     [budget]                    # or: budget = "unlimited"
///     ratio = 0.2                 # 0 to 10 retries a request
///     reserve_per_second = 10     # 0 to 1,000,000
///     ## burst = 200               # 1 to 1,000,000
/// "#)?;
/// assert_eq!(config, RetryConfig::new("ml_service"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "RetryConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct RetryConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`RetryBuilder::max_attempts`].
    pub max_attempts: u32,
    /// See [`RetryBuilder::backoff`].
    pub backoff: Backoff,
    /// See [`RetryBuilder::backoff_base`]. If `None`: 100 ms, or `backoff_cap` if that is less.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub backoff_base: Option<Duration>,
    /// See [`RetryBuilder::backoff_cap`]. If `None`: 10 s, or `total` if that is less or the backoff is constant.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub backoff_cap: Option<Duration>,
    /// See [`RetryBuilder::max_retry_after`]. If `None`: 10 s, or `total` if that is less.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_retry_after: Option<Duration>,
    /// See [`RetryBuilder::total`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub total: Duration,
    /// See [`RetryBuilder::max_body`].
    pub max_body: usize,
    /// See [`RetryBuilder::repeat_when`] and [`RetryBuilder::trust_idempotency_key`].
    pub repeat: RepeatRule,
    /// See [`RetryBuilder::attempt_header`].
    #[cfg_attr(feature = "serde", serde(with = "backstop_kit::as_text::option"))]
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
            budget: Budget::default(),
            seed: None,
        }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }
}

/// What pays for a layer's retries.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Budget {
    /// The layer's own budget, with these settings. Each layer that is built gets a new one.
    Own(RetryBudgetConfig),
    /// This one, which other layers may share.
    Shared(RetryBudget),
    /// None: only the attempts of each request are limited.
    Unlimited,
}

impl Default for Budget {
    fn default() -> Self {
        Self::Own(RetryBudgetConfig::default())
    }
}

impl Budget {
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    fn build(self) -> Result<Option<RetryBudget>, ConfigError> {
        match self {
            Self::Own(config) => RetryBudget::from_config(&config).map(Some),
            Self::Shared(budget) => Ok(Some(budget)),
            Self::Unlimited => Ok(None),
        }
    }
}

/// A checked configuration, with the budget that pays. `None` if retries aren't bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) max_attempts: u32,
    pub(crate) waits: Waits,
    pub(crate) max_retry_after: Duration,
    pub(crate) total: Duration,
    pub(crate) repeat: RepeatRule,
    pub(crate) attempt_header: Option<HeaderName>,
    pub(crate) budget: Option<RetryBudget>,
}

impl Settings {
    /// The defaults.
    pub(crate) fn new() -> Self {
        Self {
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            waits: Waits::new(Backoff::FullJitter, DEFAULT_BACKOFF_BASE, DEFAULT_BACKOFF_CAP),
            max_retry_after: DEFAULT_MAX_RETRY_AFTER,
            total: DEFAULT_TOTAL,
            repeat: RepeatRule::new(),
            attempt_header: None,
            budget: Some(RetryBudget::default()),
        }
    }

    /// The name and the settings of `config`. What is kept of a replaced answer must come within the total.
    pub(crate) fn check(config: RetryConfig, keep: Option<KeepReplaced>) -> Result<(Name, Self), ConfigError> {
        _ = HttpCopy::default().max_body(config.max_body)?;
        keep.map_or(Ok(()), |keep| keep.check_within(config.total))?;
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
        let settings = Self {
            max_attempts,
            waits: Waits::new(config.backoff, base, cap),
            max_retry_after,
            total,
            repeat: config.repeat,
            attempt_header: config.attempt_header,
            budget: config.budget.build()?,
        };
        Ok((name, settings))
    }
}

#[cfg(test)]
mod tests;
