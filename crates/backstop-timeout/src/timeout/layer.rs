//! The layer.

use std::{borrow::Cow, fmt, marker::PhantomData, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name, RejectAsError, RejectWith, Rejection};
use tower_layer::Layer;

use super::{
    config::{DEFAULT_LIMIT, TimeoutBuilder, TimeoutConfig},
    cover::UntilHeaders,
    service::Timeout,
    upload::Begins,
};
use crate::settings::Settings;

/// Ends calls that take too long. See the [crate docs](crate#the-timeout).
///
/// `J` is how it answers then, see [`Reject`](backstop_core::Reject); `O` how much of an answer it [covers](crate::Cover).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct TimeoutLayer<J = HttpReject, O = UntilHeaders> {
    settings: Settings<J>,
    begins: Begins,
    cover: PhantomData<fn() -> O>,
}

impl TimeoutLayer {
    /// A limit of 1 s.
    pub fn new(name: Name) -> Self {
        Self::with(name, DEFAULT_LIMIT, Begins::default(), HttpReject::default())
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
        TimeoutBuilder::new(TimeoutConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`TimeoutBuilder::build`].
    pub fn from_config(config: TimeoutConfig) -> Result<Self, ConfigError> {
        TimeoutBuilder::new(config).build()
    }
}

impl<J, O> TimeoutLayer<J, O> {
    pub(crate) fn with(name: Name, limit: Duration, begins: Begins, reject: J) -> Self {
        Self { settings: Settings { name, limit, reject }, begins, cover: PhantomData }
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> TimeoutLayer<RejectAsError, O> {
        TimeoutLayer::with(self.settings.name, self.settings.limit, self.begins, RejectAsError::new())
    }

    /// Rejects with what `make` makes of the [`Rejection`](crate::Rejection): a `Result` of the service's own types.
    pub fn reject_with<F, Res, E>(self, make: F) -> TimeoutLayer<RejectWith<F>, O>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        TimeoutLayer::with(self.settings.name, self.settings.limit, self.begins, RejectWith::new(make))
    }
}

impl<J: Clone, O> Clone for TimeoutLayer<J, O> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), begins: self.begins, cover: PhantomData }
    }
}

impl<J, O> fmt::Debug for TimeoutLayer<J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(&mut f.debug_struct("TimeoutLayer")).finish_non_exhaustive()
    }
}

impl<S, J: Clone, O> Layer<S> for TimeoutLayer<J, O> {
    type Service = Timeout<S, J, O>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout::new(inner, self.settings.clone(), self.begins)
    }
}
