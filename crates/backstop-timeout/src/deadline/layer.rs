//! The layer.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name, SetBy};
use http::{HeaderMap, Request};
use tower_layer::Layer;

use super::{
    config::{DEFAULT_LIMIT, DeadlineBuilder, DeadlineConfig},
    service::DeadlineService,
};
use crate::{
    header::{self, DeadlineHeader},
    telemetry,
};

/// Gives each request a deadline. See the [crate docs](crate#the-deadline).
///
/// `J` is how it answers at the deadline, see [`Reject`](backstop_core::Reject).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DeadlineLayer<J = HttpReject> {
    shared: Arc<Shared<J>>,
}

/// What all services of a layer share.
pub(crate) struct Shared<J> {
    pub(crate) name: Name,
    pub(crate) limit: Duration,
    trust: Vec<DeadlineHeader>,
    pub(crate) reject: J,
}

impl DeadlineLayer {
    /// A limit of 15 s, or what `grpc-timeout` says on a gRPC request.
    pub fn new(name: Name) -> Self {
        Self::with(name, DEFAULT_LIMIT, Vec::new(), HttpReject::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::{DeadlineHeader, DeadlineLayer};
    ///
    /// let deadline = DeadlineLayer::builder("edge")
    ///     .limit(Duration::from_secs(5))
    ///     .trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
    ///     .build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> DeadlineBuilder {
        DeadlineBuilder::new(DeadlineConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`DeadlineBuilder::build`].
    pub fn from_config(config: DeadlineConfig) -> Result<Self, ConfigError> {
        DeadlineBuilder::new(config).build()
    }
}

impl<J> DeadlineLayer<J> {
    pub(crate) fn with(name: Name, limit: Duration, trust: Vec<DeadlineHeader>, reject: J) -> Self {
        Self { shared: Arc::new(Shared { name, limit, trust, reject }) }
    }
}

impl<J> Clone for DeadlineLayer<J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J> fmt::Debug for DeadlineLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(&mut f.debug_struct("DeadlineLayer"))
    }
}

impl<J> Shared<J> {
    /// How long a request may take, and who says so: the caller, where it is believed to wait less than our limit.
    pub(crate) fn limit_of<B>(&self, request: &Request<B>) -> (Duration, SetBy) {
        header::of(request, &self.trust)
            .filter_map(|header| self.believed(header, request.headers()))
            .filter(|limit| *limit < self.limit)
            .min()
            .map_or((self.limit, SetBy::Us), |limit| (limit, SetBy::Caller))
    }

    fn believed(&self, header: &DeadlineHeader, headers: &HeaderMap) -> Option<Duration> {
        header.read(headers).unwrap_or_else(|why| {
            telemetry::ignored(&self.name, header, why);
            None
        })
    }

    /// Strategies may be closures, which have nothing to show.
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.name).field("limit", &self.limit).field("trust", &self.trust).finish_non_exhaustive()
    }
}

impl<S, J> Layer<S> for DeadlineLayer<J> {
    type Service = DeadlineService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, Arc::clone(&self.shared))
    }
}
