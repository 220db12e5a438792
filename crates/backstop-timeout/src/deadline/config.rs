//! What a deadline can be told.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name, RejectAsError, RejectWith, Rejection};

use super::layer::DeadlineLayer;
use crate::header::{self, DeadlineHeader};

/// Envoy's for a route: "If not specified, the default is 15s" (`config.route.v3.RouteAction.timeout`).
pub(crate) const DEFAULT_LIMIT: Duration = Duration::from_secs(15);

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A deadline as plain data, for [`DeadlineLayer::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlineConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// How long a request may take at most: 1 ms to 24 h, 15 s unless set.
    pub limit: Duration,
    /// Which headers callers are believed in, besides `grpc-timeout` on gRPC requests: each once, none unless set.
    pub trust: Vec<DeadlineHeader>,
}

impl DeadlineConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), limit: DEFAULT_LIMIT, trust: Vec::new() }
    }
}

/// Builds a [`DeadlineLayer`]: see [`DeadlineLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct DeadlineBuilder<J = HttpReject> {
    config: DeadlineConfig,
    reject: J,
}

impl DeadlineBuilder {
    pub(crate) fn new(config: DeadlineConfig) -> Self {
        Self { config, reject: HttpReject::default() }
    }
}

impl<J> DeadlineBuilder<J> {
    /// How long a request may take at most: 1 ms to 24 h, 15 s unless set, which is Envoy's default for a route.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.config.limit = limit;
        self
    }

    /// Believes callers in this header, too. Of all that is believed the smallest counts.
    ///
    /// Trust what only your own proxies and services can set. A caller who may choose can have its requests given up
    /// early, which is its own harm alone; but each costs work that comes to nothing.
    pub fn trust(mut self, header: DeadlineHeader) -> Self {
        self.config.trust.push(header);
        self
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> DeadlineBuilder<RejectAsError> {
        DeadlineBuilder { config: self.config, reject: RejectAsError::new() }
    }

    /// Rejects with what `make` makes of the [`Rejection`](crate::Rejection): a `Result` of the service's own types.
    pub fn reject_with<F, Res, E>(self, make: F) -> DeadlineBuilder<RejectWith<F>>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        DeadlineBuilder { config: self.config, reject: RejectWith::new(make) }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` where it is no [`Name`], for `limit` where it isn't 1 ms to 24 h, and for `trust`
    /// where a header is in it twice.
    pub fn build(self) -> Result<DeadlineLayer<J>, ConfigError> {
        let Self { config: DeadlineConfig { name, limit, trust }, reject } = self;
        if !(SHORTEST..=LONGEST).contains(&limit) {
            return Err(ConfigError::new("limit", format!("{limit:?}"), "1 ms to 24 h"));
        }
        header::check_each_once("trust", &trust)?;
        Ok(DeadlineLayer::with(Name::new(name)?, limit, trust, reject))
    }
}

impl<J> fmt::Debug for DeadlineBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadlineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
