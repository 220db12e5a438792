//! The configuration and the builder.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{HttpReject, ProblemDetails, RejectAsError, RejectWith, UntilBodyEnd, UntilHeaders};

// The minimum that RFC 9113 (§6.5.2) recommends for the streams of an HTTP/2 connection.
const DEFAULT_MAX_CONCURRENT: u32 = 100;
// The timeout layer's default limit: after that, all calls that were running when the wait began have ended.
const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(1);
// nginx's `send_timeout` and `proxy_read_timeout`.
const DEFAULT_MAX_HOLD: Duration = Duration::from_secs(60);

const MOST: u32 = 1_000_000;
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A bulkhead as plain data, for [`BulkheadLayer::from_config`](crate::BulkheadLayer::from_config).
///
/// The default of a field that is `None` depends on the others.
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_bulkhead::BulkheadConfig;
///
/// let config: BulkheadConfig = toml::from_str(r#"
///     name = "ml_service"
///     max_concurrent = 100    # 1 to 1,000,000 calls
///     ## max_waiting = 100     # 0 to 1,000,000 calls; as many as max_concurrent
///     ## max_wait = "1s"       # 1 ms to 24 h; not beside a max_waiting of 0
///     ## max_hold = "1m"       # 1 ms to 24 h; not beside until_headers
/// "#)?;
/// assert_eq!(config, BulkheadConfig::new("ml_service"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "BulkheadConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct BulkheadConfig {
    /// The layer's [name](crate::Name).
    pub name: Cow<'static, str>,
    /// See [`BulkheadBuilder::max_concurrent`].
    pub max_concurrent: u32,
    /// See [`BulkheadBuilder::max_waiting`].
    pub max_waiting: Option<u32>,
    /// See [`BulkheadBuilder::max_wait`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub max_wait: Option<Duration>,
    /// See [`BulkheadBuilder::max_hold`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
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

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }
}

/// Builds a [`BulkheadLayer`](crate::BulkheadLayer): see [`BulkheadLayer::builder`](crate::BulkheadLayer::builder).
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct BulkheadBuilder<R = HttpReject, U = UntilBodyEnd> {
    pub(crate) config: BulkheadConfig,
    pub(crate) reject: R,
    pub(crate) holds_bodies: bool,
    until: PhantomData<fn() -> U>,
}

impl BulkheadBuilder {
    pub(crate) fn new(config: BulkheadConfig) -> Self {
        Self { config, reject: HttpReject::default(), holds_bodies: true, until: PhantomData }
    }
}

impl<R, U> BulkheadBuilder<R, U> {
    /// The most calls that run at once: 1 to 1,000,000, 100 unless set.
    ///
    /// Set it to what the dependency can handle: calls per second times seconds per call (Little's law), and some more for
    /// slow days. The default is the minimum that RFC 9113 (§6.5.2) recommends for the streams of one connection.
    pub const fn max_concurrent(mut self, calls: u32) -> Self {
        self.config.max_concurrent = calls;
        self
    }

    /// The most calls that wait: 0 to 1,000,000, `max_concurrent` unless set.
    ///
    /// If as many calls wait as run, the last in line waits about as long as one call takes. With 0, no call waits.
    pub const fn max_waiting(mut self, calls: u32) -> Self {
        self.config.max_waiting = Some(calls);
        self
    }

    /// The longest time that a call waits: 1 ms to 24 h, 1 s unless set.
    ///
    /// The default is the timeout layer's default limit: after that, all calls that were running when the wait began have
    /// ended. The request's deadline limits the wait, too.
    pub const fn max_wait(mut self, wait: Duration) -> Self {
        self.config.max_wait = Some(wait);
        self
    }

    /// The longest time that a response body holds its call's permit, counted from the response head: 1 ms to 24 h, 60 s
    /// unless set.
    ///
    /// Set it above the time that your longest answer takes on your slowest connection. The default is nginx's
    /// `send_timeout`. At an edge, `max_concurrent` clients that don't read block all others for this long. Choose
    /// [`until_headers`](Self::until_headers) there, or a short time.
    pub const fn max_hold(mut self, hold: Duration) -> Self {
        self.config.max_hold = Some(hold);
        self
    }

    /// Gives each permit back when the response head has arrived, instead of at the end of the body.
    ///
    /// Use it for responses whose body can't be wrapped, for services that don't speak HTTP, for endless streams, and at an
    /// edge, where clients may read slowly. It doesn't limit how many bodies are read at once.
    ///
    /// ```
    /// use backstop_bulkhead::BulkheadLayer;
    ///
    /// let bulkhead = BulkheadLayer::builder("events").max_concurrent(20).until_headers().build()?;
    /// # Ok::<(), backstop_bulkhead::ConfigError>(())
    /// ```
    pub fn until_headers(self) -> BulkheadBuilder<R, UntilHeaders> {
        BulkheadBuilder { config: self.config, reject: self.reject, holds_bodies: false, until: PhantomData }
    }

    /// The settings so far.
    pub const fn config(&self) -> &BulkheadConfig {
        &self.config
    }

    /// Rejects with a response whose body says why: a problem document (RFC 9457), see [`ProblemDetails`]. Unless set, it has no
    /// body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
    pub fn problem_details(self) -> BulkheadBuilder<ProblemDetails, U> {
        self.with_reject(ProblemDetails::new())
    }

    /// Rejects with the service's error, which must implement `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> BulkheadBuilder<RejectAsError, U> {
        self.with_reject(RejectAsError::new())
    }

    /// Rejects with what `make` returns: a `Result` with the service's own types.
    pub fn reject_with<Res, E, F>(self, make: F) -> BulkheadBuilder<RejectWith<F>, U>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.with_reject(RejectWith::new(make))
    }

    fn with_reject<R2>(self, reject: R2) -> BulkheadBuilder<R2, U> {
        let Self { config, holds_bodies, .. } = self;
        BulkheadBuilder { config, reject, holds_bodies, until: PhantomData }
    }
}

impl<R, U> fmt::Debug for BulkheadBuilder<R, U> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BulkheadBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl BulkheadConfig {
    pub(crate) fn check(self, holds_bodies: bool) -> Result<(Name, Settings), ConfigError> {
        let max_concurrent = check_max_concurrent(self.max_concurrent)?;
        let max_waiting = self.max_waiting.unwrap_or(max_concurrent);
        let max_waiting = ConfigError::check_range("max_waiting", max_waiting, 0..=MOST, "0 to 1000000")?;
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

/// A valid configuration.
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
    ConfigError::check_range("max_concurrent", calls, 1..=MOST, "1 to 1000000")
}

fn time(field: &'static str, time: Duration) -> Result<Duration, ConfigError> {
    ConfigError::check_range(field, time, SHORTEST..=LONGEST, "1 ms to 24 h")
}
