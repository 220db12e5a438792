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
    settings::Settings,
    telemetry,
};

/// Gives each request a deadline. See the [crate docs](crate#the-deadline).
///
/// `J` is how it answers at the deadline, see [`Reject`](backstop_core::Reject).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DeadlineLayer<J = HttpReject> {
    settings: Settings<J>,
    trust: Trust,
}

/// The headers that a caller is believed by, beside gRPC's.
#[derive(Clone, Debug)]
pub(crate) struct Trust(Arc<[DeadlineHeader]>);

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
        Self { settings: Settings { name, limit, reject }, trust: Trust(trust.into()) }
    }
}

impl<J: Clone> Clone for DeadlineLayer<J> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), trust: self.trust.clone() }
    }
}

impl<J> fmt::Debug for DeadlineLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(&mut f.debug_struct("DeadlineLayer")).field("trust", &self.trust.0).finish_non_exhaustive()
    }
}

impl Trust {
    /// How long a request may take, and who says so: the caller, where it is believed to wait less than our limit.
    pub(crate) fn limit_of<J, B>(&self, request: &Request<B>, ours: &Settings<J>) -> (Duration, SetBy) {
        header::of(request, &self.0)
            .filter_map(|header| believed(header, request.headers(), &ours.name))
            .filter(|limit| *limit < ours.limit)
            .min()
            .map_or((ours.limit, SetBy::Us), |limit| (limit, SetBy::Caller))
    }
}

fn believed(header: &DeadlineHeader, headers: &HeaderMap, by: &Name) -> Option<Duration> {
    header.read(headers).unwrap_or_else(|why| {
        telemetry::ignored(by, header, why);
        None
    })
}

impl<S, J: Clone> Layer<S> for DeadlineLayer<J> {
    type Service = DeadlineService<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.settings.clone(), self.trust.clone())
    }
}
