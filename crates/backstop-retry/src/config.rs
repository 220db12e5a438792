//! What a retry can be told.

use std::{borrow::Cow, time::Duration};

use backstop_core::{ConfigError, Name, Outcome};
use backstop_kit::RequestFacts;
use http::HeaderName;

use crate::{Backoff, RepeatWhen, RetryBudget, backoff::Waits};

mod builder;

pub use builder::RetryBuilder;

const DEFAULT_MAX_ATTEMPTS: u32 = 3;
const DEFAULT_BACKOFF_BASE: Duration = Duration::from_millis(100);
const DEFAULT_BACKOFF_CAP: Duration = Duration::from_secs(10);
const DEFAULT_MAX_RETRY_AFTER: Duration = Duration::from_secs(10);
const DEFAULT_TOTAL: Duration = Duration::from_secs(60);
const DEFAULT_MAX_BODY: usize = 64 * 1024;

const MOST_ATTEMPTS: u32 = 1000;
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// A retry as plain data, for [`RetryLayer::from_config`](crate::RetryLayer::from_config).
///
/// A field that is `None` has a default that fits the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// How often a request is sent at most, the first time included: 1 to 1000, 3 unless set.
    ///
    /// With 1 the layer does nothing: requests pass straight through.
    pub max_attempts: u32,
    /// How the waits are worked out: with full jitter unless set.
    pub backoff: Backoff,
    /// The longest wait before the second attempt, if the server names none: more than 0 s, up to `backoff_cap`. 100 ms
    /// unless set, or `backoff_cap` where that is less.
    ///
    /// It doubles with each further attempt. How long is really waited is random: anything from nothing to that. Other
    /// [backoffs](Backoff) make something else of it.
    pub backoff_base: Option<Duration>,
    /// What the doubling of `backoff_base` stops at: up to `total`. 10 s unless set, or `total` where that is less
    /// or the backoff is constant.
    pub backoff_cap: Option<Duration>,
    /// The longest delay that a server may ask for (`Retry-After`, `grpc-retry-pushback-ms`): up to `total`. 10 s unless
    /// set, or `total` where that is less.
    ///
    /// A server that asks for more is obeyed: its answer is returned at once.
    pub max_retry_after: Option<Duration>,
    /// The time that all attempts and waits may take together: more than 0 s, up to 24 h, 60 s unless set. It doesn't
    /// end a first attempt that hangs: see [`RetryBuilder::total`](crate::RetryBuilder::total).
    ///
    /// Where the deadline of the [scope](backstop_core::scope) is earlier, that binds.
    pub total: Duration,
    /// The longest request body that is kept for another attempt, in bytes: 64 KiB unless set, up to 1 GiB.
    ///
    /// A longer one is sent as it comes, once.
    pub max_body: usize,
    /// Whether a request with an `Idempotency-Key` may be repeated whatever its method. It may not unless set.
    pub trust_idempotency_key: bool,
    /// The rule for what may be sent again, instead of the layer's own. None unless set: see
    /// [`RetryBuilder::repeat_when`](crate::RetryBuilder::repeat_when).
    pub repeat_when: Option<RepeatWhen>,
    /// The header that tells how many attempts were made before, in requests that are sent again and in those that come:
    /// none unless set. See [`RetryBuilder::attempt_header`](crate::RetryBuilder::attempt_header).
    pub attempt_header: Option<HeaderName>,
    /// What the retries are paid from: a budget of the layer's own unless set.
    pub budget: Budget,
    /// Where the jitter starts, for tests that want the same waits each time. Random unless set.
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
            trust_idempotency_key: false,
            repeat_when: None,
            attempt_header: None,
            budget: Budget::Own,
            seed: None,
        }
    }
}

/// What a layer's retries are paid from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Budget {
    /// A budget of the layer's own, with the [defaults](RetryBudget::default). Each layer that is built has another one.
    #[default]
    Own,
    /// This one, which other layers may share.
    Shared(RetryBudget),
    /// None: only the attempts of each request are bounded.
    Unlimited,
}

/// A configuration that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) name: Name,
    pub(crate) max_attempts: u32,
    pub(crate) waits: Waits,
    pub(crate) max_retry_after: Duration,
    pub(crate) total: Duration,
    trust_idempotency_key: bool,
    repeat_when: Option<RepeatWhen>,
    pub(crate) attempt_header: Option<HeaderName>,
}

impl Settings {
    /// The defaults, which can't be wrong.
    pub(crate) const fn new(name: Name) -> Self {
        Self {
            name,
            max_attempts: DEFAULT_MAX_ATTEMPTS,
            waits: Waits::new(Backoff::FullJitter, DEFAULT_BACKOFF_BASE, DEFAULT_BACKOFF_CAP),
            max_retry_after: DEFAULT_MAX_RETRY_AFTER,
            total: DEFAULT_TOTAL,
            trust_idempotency_key: false,
            repeat_when: None,
            attempt_header: None,
        }
    }

    pub(crate) fn check(config: RetryConfig) -> Result<Self, ConfigError> {
        let name = Name::new(config.name)?;
        let max_attempts = config.max_attempts;
        if !(1..=MOST_ATTEMPTS).contains(&max_attempts) {
            return Err(ConfigError::new("max_attempts", max_attempts.to_string(), "1 to 1000"));
        }
        let total = config.total;
        if total.is_zero() || total > LONGEST_TOTAL {
            return Err(refused("total", total, "more than 0 s, up to 24 h"));
        }
        let default_cap = match config.backoff {
            // Nothing grows.
            Backoff::Constant => total,
            _ => DEFAULT_BACKOFF_CAP.min(total),
        };
        let cap = config.backoff_cap.unwrap_or(default_cap);
        if cap.is_zero() || cap > total {
            return Err(refused("backoff_cap", cap, "more than 0 s, up to the total"));
        }
        let base = config.backoff_base.unwrap_or(DEFAULT_BACKOFF_BASE.min(cap));
        if base.is_zero() || base > cap {
            return Err(refused("backoff_base", base, "more than 0 s, up to the backoff's cap"));
        }
        let max_retry_after = config.max_retry_after.unwrap_or(DEFAULT_MAX_RETRY_AFTER.min(total));
        if max_retry_after > total {
            return Err(refused("max_retry_after", max_retry_after, "0 s up to the total"));
        }
        Ok(Self {
            name,
            max_attempts,
            waits: Waits::new(config.backoff, base, cap),
            max_retry_after,
            total,
            trust_idempotency_key: config.trust_idempotency_key,
            repeat_when: config.repeat_when,
            attempt_header: config.attempt_header,
        })
    }

    /// Whether such a request may be sent again after an attempt that came to this.
    pub(crate) fn may_repeat(&self, request: RequestFacts, outcome: &Outcome) -> bool {
        match &self.repeat_when {
            Some(rule) => rule.allows(request, outcome),
            None => {
                let by_key = self.trust_idempotency_key && request.has_idempotency_key();
                outcome.unprocessed || request.is_idempotent() || by_key
            }
        }
    }
}

fn refused(field: &'static str, value: Duration, allowed: &'static str) -> ConfigError {
    ConfigError::new(field, format!("{value:?}"), allowed)
}

#[cfg(test)]
mod tests;
