//! The layer.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name};
use http::{HeaderMap, Request};
use tower_layer::Layer;

use super::{
    config::{DEFAULT_MARGIN, PropagateDeadlineBuilder, PropagateDeadlineConfig},
    service::PropagateDeadline,
};
use crate::header::{self, DeadlineHeader};

/// Sends the time that is left with each request. See the [crate docs](crate#sending-it-on).
///
/// Put it around a `Buffer`, not inside: inside, it doesn't know the caller's deadline and doesn't send it.
///
/// `J` is how it answers where too little is left, see [`Reject`](backstop_core::Reject).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct PropagateDeadlineLayer<J = HttpReject> {
    shared: Arc<Shared<J>>,
}

/// What all services of a layer share.
pub(crate) struct Shared<J> {
    pub(crate) name: Name,
    margin: Duration,
    send: Vec<DeadlineHeader>,
    pub(crate) reject: J,
}

impl PropagateDeadlineLayer {
    /// Sends all but 10 ms, in `grpc-timeout` on gRPC requests, and in nothing on others.
    pub fn new(name: Name) -> Self {
        Self::with(name, DEFAULT_MARGIN, Vec::new(), HttpReject::default())
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_timeout::{DeadlineHeader, PropagateDeadlineLayer};
    ///
    /// let propagate = PropagateDeadlineLayer::builder("ml_service")
    ///     .margin(Duration::from_millis(5))
    ///     .send(DeadlineHeader::EnvoyExpectedRqTimeoutMs)
    ///     .build()?;
    /// # Ok::<(), backstop_timeout::ConfigError>(())
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> PropagateDeadlineBuilder {
        PropagateDeadlineBuilder::new(PropagateDeadlineConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`PropagateDeadlineBuilder::build`].
    pub fn from_config(config: PropagateDeadlineConfig) -> Result<Self, ConfigError> {
        PropagateDeadlineBuilder::new(config).build()
    }
}

impl<J> PropagateDeadlineLayer<J> {
    pub(crate) fn with(name: Name, margin: Duration, send: Vec<DeadlineHeader>, reject: J) -> Self {
        Self { shared: Arc::new(Shared { name, margin, send, reject }) }
    }
}

impl<J> Clone for PropagateDeadlineLayer<J> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<J> fmt::Debug for PropagateDeadlineLayer<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.debug(&mut f.debug_struct("PropagateDeadlineLayer"))
    }
}

impl<J> Shared<J> {
    /// Writes into a request how long its receiver has; `None` where that is no time at all.
    pub(crate) fn tell<B>(&self, request: &mut Request<B>, left: Duration) -> Option<Duration> {
        let left = left.checked_sub(self.margin).filter(|left| !left.is_zero())?;
        let mut headers = header::of(request, &self.send);
        headers.try_fold(left, |least, header| Some(least.min(tell_in(header, request.headers_mut(), left)?)))
    }

    /// Strategies may be closures, which have nothing to show.
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("name", &self.name).field("margin", &self.margin).field("send", &self.send).finish_non_exhaustive()
    }
}

fn tell_in(header: &DeadlineHeader, headers: &mut HeaderMap, left: Duration) -> Option<Duration> {
    let (told, value) = header.write(left)?;
    // Whoever made the request may have set a shorter limit of its own.
    if !matches!(header.read(headers), Ok(Some(own)) if own <= told) {
        headers.insert(header.name(), value);
    }
    Some(told)
}

impl<S, J> Layer<S> for PropagateDeadlineLayer<J> {
    type Service = PropagateDeadline<S, J>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateDeadline::new(inner, Arc::clone(&self.shared))
    }
}
