//! The settings of a timeout.

use std::{borrow::Cow, fmt, marker::PhantomData, ops::RangeInclusive, time::Duration};

use backstop_core::{ConfigError, Name, Rejection};
use backstop_kit::{HttpReject, RejectAsError, RejectWith, UntilHeaders};

use super::{layer::TimeoutLayer, upload::Begins};
use crate::{macros::define_reject_methods, settings::Settings};

const DEFAULT_LIMIT: Duration = Duration::from_secs(1);

const ALLOWED: (RangeInclusive<Duration>, &str) =
    (Duration::from_millis(1)..=Duration::from_secs(60 * 60), "1 ms to 1 h");

/// A timeout as plain data, for [`TimeoutLayer::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// See [`TimeoutBuilder::limit`].
    pub limit: Duration,
    /// See [`TimeoutBuilder::after_upload`].
    pub after_upload: bool,
}

impl TimeoutConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), limit: DEFAULT_LIMIT, after_upload: false }
    }
}

impl TimeoutLayer {
    /// Ends calls after 1 s.
    pub fn new(name: Name) -> Self {
        Self::with(Settings { name, limit: DEFAULT_LIMIT, reject: HttpReject::default() }, Begins::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::TimeoutLayer;
    ///
    /// let error = TimeoutLayer::builder("ml_service").limit(Duration::ZERO).build().unwrap_err();
    /// assert_eq!(error.to_string(), "limit is 0ns, allowed is: 1 ms to 1 h");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> TimeoutBuilder {
        TimeoutBuilder::of(TimeoutConfig::new(name))
    }

    /// Builds the layer from plain data.
    ///
    /// # Errors
    /// As [`TimeoutBuilder::build`].
    pub fn from_config(config: TimeoutConfig) -> Result<Self, ConfigError> {
        TimeoutBuilder::of(config).build()
    }
}

/// Builds a [`TimeoutLayer`]: see [`TimeoutLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct TimeoutBuilder<J = HttpReject, O = UntilHeaders> {
    config: TimeoutConfig,
    reject: J,
    cover: PhantomData<fn() -> O>,
}

impl TimeoutBuilder {
    fn of(config: TimeoutConfig) -> Self {
        Self { config, reject: HttpReject::default(), cover: PhantomData }
    }
}

impl<J, O> TimeoutBuilder<J, O> {
    /// How long a call may take, from the wait for readiness to the part of the response that is
    /// [covered](TimeoutBuilder::cover): 1 ms to 1 h. The default is 1 s.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// Starts the limit of a request with a body when the body has been sent to its end. For streamed uploads.
    ///
    /// Until then the limit ends a call only if the service reads nothing of the body for that long although there is
    /// more to read. It never ends a wait for the caller: limit those with a [`DeadlineLayer`](crate::DeadlineLayer) at the
    /// edge, or with the server's own timeouts. Envoy's route timeout does the same.
    ///
    /// This needs an `http::Request` with a body that the layer can [watch](backstop_kit::Upload::of_any), and
    /// [`HttpReject`]. Otherwise the limit starts with the call.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::TimeoutLayer;
    ///
    /// let timeout = TimeoutLayer::builder("uploads").limit(Duration::from_secs(5)).after_upload().build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub const fn after_upload(mut self) -> Self {
        self.config.after_upload = true;
        self
    }

    /// How much of the response the limit covers: [`UntilHeaders`], the default, [`UntilFirstFrame`](crate::UntilFirstFrame)
    /// or [`UntilBodyEnd`](crate::UntilBodyEnd).
    ///
    /// ```
    /// use backstop_timeout::{TimeoutLayer, UntilBodyEnd};
    ///
    /// let timeout = TimeoutLayer::builder("ml_service").cover(UntilBodyEnd).build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "only its type matters")]
    pub fn cover<O2>(self, until: O2) -> TimeoutBuilder<J, O2> {
        _ = until;
        TimeoutBuilder { config: self.config, reject: self.reject, cover: PhantomData }
    }

    define_reject_methods!(TimeoutBuilder<J, O> { config, cover });

    /// Builds the layer.
    ///
    /// # Errors
    /// [`ConfigError`] if `name` isn't a [`Name`] or `limit` isn't 1 ms to 1 h.
    pub fn build(self) -> Result<TimeoutLayer<J, O>, ConfigError> {
        let Self { config: TimeoutConfig { name, limit, after_upload }, reject, cover: _ } = self;
        let begins = if after_upload { Begins::AfterUpload } else { Begins::WithCall };
        Ok(TimeoutLayer::with(Settings::checked(name, limit, ALLOWED, reject)?, begins))
    }
}

impl<J, O> fmt::Debug for TimeoutBuilder<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
