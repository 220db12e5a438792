//! What a bulkhead can be told.

use std::{borrow::Cow, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name};

// What RFC 9113 (§6.5.2) recommends that an HTTP/2 server allows at the least: a dependency that offers it should stand it.
const DEFAULT_MAX_CONCURRENT: u32 = 100;
// What the timeout gives a call: by then all that ran when the wait began have ended.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);
// What nginx grants a client that doesn't read (`send_timeout`), and an upstream that doesn't send (`proxy_read_timeout`).
const DEFAULT_MAX_HOLD: Duration = Duration::from_secs(60);

const MOST: u32 = 1_000_000;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A bulkhead as plain data, for [`BulkheadLayer::from_config`](crate::BulkheadLayer::from_config).
///
/// A field that is `None` has a default that fits the others.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// How many calls run at most: 1 to 1,000,000, 100 unless set.
    pub max_concurrent: u32,
    /// How many more wait at most: 0 to 1,000,000, as many as run unless set.
    pub max_waiting: Option<u32>,
    /// How long each of them waits at most: 1 ms to 24 h, 1 s unless set.
    pub max_wait: Option<Duration>,
    /// How long a response body holds its call's permit at most: 1 ms to 24 h, 60 s unless set.
    pub max_hold: Option<Duration>,
}

impl BulkheadConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            max_concurrent: DEFAULT_MAX_CONCURRENT,
            max_waiting: None,
            max_wait: None,
            max_hold: None,
        }
    }

    pub(crate) fn check(self, holds_bodies: bool) -> Result<(Name, Settings), ConfigError> {
        let max_concurrent = check_max_concurrent(self.max_concurrent)?;
        let max_waiting = number("max_waiting", self.max_waiting.unwrap_or(max_concurrent), 0..=MOST, "0 to 1000000")?;
        if let (0, Some(wait)) = (max_waiting, self.max_wait) {
            return Err(ConfigError::new("max_wait", format!("{wait:?}"), "only beside a max_waiting that isn't 0"));
        }
        if let (false, Some(hold)) = (holds_bodies, self.max_hold) {
            return Err(ConfigError::new("max_hold", format!("{hold:?}"), "not beside until_headers"));
        }
        let max_wait = time("max_wait", self.max_wait.unwrap_or(DEFAULT_MAX_WAIT))?;
        let max_hold = time("max_hold", self.max_hold.unwrap_or(DEFAULT_MAX_HOLD))?;
        Ok((Name::new(self.name)?, Settings { max_concurrent, max_waiting, max_wait, max_hold }))
    }
}

/// A configuration that was checked.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) max_concurrent: u32,
    pub(crate) max_waiting: u32,
    pub(crate) max_wait: Duration,
    pub(crate) max_hold: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_concurrent: DEFAULT_MAX_CONCURRENT,
            max_waiting: DEFAULT_MAX_CONCURRENT,
            max_wait: DEFAULT_MAX_WAIT,
            max_hold: DEFAULT_MAX_HOLD,
        }
    }
}

pub(crate) fn check_max_concurrent(calls: u32) -> Result<u32, ConfigError> {
    number("max_concurrent", calls, 1..=MOST, "1 to 1000000")
}

fn number(field: &'static str, n: u32, range: RangeInclusive<u32>, allowed: &'static str) -> Result<u32, ConfigError> {
    if range.contains(&n) { Ok(n) } else { Err(ConfigError::new(field, n.to_string(), allowed)) }
}

fn time(field: &'static str, time: Duration) -> Result<Duration, ConfigError> {
    if (SHORTEST..=LONGEST).contains(&time) {
        Ok(time)
    } else {
        Err(ConfigError::new(field, format!("{time:?}"), "1 ms to 24 h"))
    }
}
