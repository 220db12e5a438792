//! What a timeout can be told.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name, RejectAsError, RejectWith, Rejection};

use super::{cover::UntilHeaders, layer::TimeoutLayer, upload::Begins};

pub(crate) const DEFAULT_LIMIT: Duration = Duration::from_secs(1);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A timeout as plain data, for [`TimeoutLayer::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TimeoutConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// How long readiness, call and what else is [covered](TimeoutBuilder::cover) may take together: 1 ms to 1 h, 1 s
    /// unless set.
    pub limit: Duration,
    /// Whether the limit of a request with a body begins [after the upload](TimeoutBuilder::after_upload): not unless set.
    pub after_upload: bool,
}

impl TimeoutConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), limit: DEFAULT_LIMIT, after_upload: false }
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
    pub(crate) fn new(config: TimeoutConfig) -> Self {
        Self { config, reject: HttpReject::default(), cover: PhantomData }
    }
}

impl<J, O> TimeoutBuilder<J, O> {
    /// How long readiness, call and what else is [covered](TimeoutBuilder::cover) may take together: 1 ms to 1 h, 1 s
    /// unless set.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// The limit of a request with a body begins when the body has been sent to its end: for uploads that are streamed.
    ///
    /// Until then it only ends a call whose service takes nothing more of the body for so long, although there is more.
    /// It never ends a wait for the caller, however long: bound those by a [`DeadlineLayer`](crate::DeadlineLayer) at the
    /// edge, or by the server's own timeouts. This is what Envoy's route timeout does.
    ///
    /// It needs an `http::Request` with a body that this layer can [watch](backstop_core::Upload::of_any), and the layer's
    /// own answers ([`HttpReject`]). For all others the limit begins with the call.
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

    /// How much of an answer the limit covers: [`UntilHeaders`], the default, [`UntilFirstFrame`](crate::UntilFirstFrame)
    /// or [`UntilBodyEnd`](crate::UntilBodyEnd).
    ///
    /// ```
    /// use backstop_timeout::{TimeoutLayer, UntilBodyEnd};
    ///
    /// let timeout = TimeoutLayer::builder("ml_service").cover(UntilBodyEnd).build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "what it is for is its type")]
    pub fn cover<O2>(self, until: O2) -> TimeoutBuilder<J, O2> {
        _ = until;
        TimeoutBuilder { config: self.config, reject: self.reject, cover: PhantomData }
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> TimeoutBuilder<RejectAsError, O> {
        TimeoutBuilder { config: self.config, reject: RejectAsError::new(), cover: PhantomData }
    }

    /// Rejects with what `make` makes of the [`Rejection`](crate::Rejection): a `Result` of the service's own types.
    pub fn reject_with<F, Res, E>(self, make: F) -> TimeoutBuilder<RejectWith<F>, O>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        TimeoutBuilder { config: self.config, reject: RejectWith::new(make), cover: PhantomData }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` where it is no [`Name`], and for `limit` where it isn't 1 ms to 1 h.
    pub fn build(self) -> Result<TimeoutLayer<J, O>, ConfigError> {
        let Self { config: TimeoutConfig { name, limit, after_upload }, reject, cover: _ } = self;
        if !(SHORTEST..=LONGEST).contains(&limit) {
            return Err(ConfigError::new("limit", format!("{limit:?}"), "1 ms to 1 h"));
        }
        let begins = if after_upload { Begins::AfterUpload } else { Begins::WithCall };
        Ok(TimeoutLayer::with(Name::new(name)?, limit, begins, reject))
    }
}

impl<J, O> fmt::Debug for TimeoutBuilder<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TimeoutBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
