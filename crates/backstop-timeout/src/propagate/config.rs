//! What the sending on of a deadline can be told.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ConfigError, HttpReject, Name, RejectAsError, RejectWith, Rejection};

use super::layer::PropagateDeadlineLayer;
use crate::header::{self, DeadlineHeader};

/// What a service further away may use less than is left here: so that its answer, also one that tells of a deadline,
/// still arrives in time. A round trip within a region takes a few milliseconds, and a busy scheduler as many.
pub(crate) const DEFAULT_MARGIN: Duration = Duration::from_millis(10);

const LARGEST: Duration = Duration::from_secs(10);

/// The sending on of a deadline as plain data, for [`PropagateDeadlineLayer::from_config`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PropagateDeadlineConfig {
    /// The layer's [name](Name).
    pub name: Cow<'static, str>,
    /// How much less than what is left is sent on: 0 to 10 s, 10 ms unless set.
    pub margin: Duration,
    /// Which headers it is sent in, besides `grpc-timeout` on gRPC requests: each once, none unless set.
    pub send: Vec<DeadlineHeader>,
}

impl PropagateDeadlineConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into(), margin: DEFAULT_MARGIN, send: Vec::new() }
    }
}

/// Builds a [`PropagateDeadlineLayer`]: see [`PropagateDeadlineLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct PropagateDeadlineBuilder<J = HttpReject> {
    config: PropagateDeadlineConfig,
    reject: J,
}

impl PropagateDeadlineBuilder {
    pub(crate) fn new(config: PropagateDeadlineConfig) -> Self {
        Self { config, reject: HttpReject::default() }
    }
}

impl<J> PropagateDeadlineBuilder<J> {
    /// How much less than what is left is sent on: 0 to 10 s, 10 ms unless set.
    ///
    /// It is the time for the way back, so that the other service's answer still arrives in time. A call that has no more
    /// left than this is refused.
    pub fn margin(mut self, margin: Duration) -> Self {
        self.config.margin = margin;
        self
    }

    /// Sends it in this header, too, on every request. None unless set: a header of this kind is for a service that
    /// knows it.
    pub fn send(mut self, header: DeadlineHeader) -> Self {
        self.config.send.push(header);
        self
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> PropagateDeadlineBuilder<RejectAsError> {
        PropagateDeadlineBuilder { config: self.config, reject: RejectAsError::new() }
    }

    /// Rejects with what `make` makes of the [`Rejection`](crate::Rejection): a `Result` of the service's own types.
    pub fn reject_with<F, Res, E>(self, make: F) -> PropagateDeadlineBuilder<RejectWith<F>>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        PropagateDeadlineBuilder { config: self.config, reject: RejectWith::new(make) }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for `name` where it is no [`Name`], for `margin` where it is over 10 s, and for `send` where a
    /// header is in it twice.
    pub fn build(self) -> Result<PropagateDeadlineLayer<J>, ConfigError> {
        let Self { config: PropagateDeadlineConfig { name, margin, send }, reject } = self;
        if margin > LARGEST {
            return Err(ConfigError::new("margin", format!("{margin:?}"), "0 to 10 s"));
        }
        header::check_each_once("send", &send)?;
        Ok(PropagateDeadlineLayer::with(Name::new(name)?, margin, send, reject))
    }
}

impl<J> fmt::Debug for PropagateDeadlineBuilder<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PropagateDeadlineBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
