//! The layer.

use std::fmt;

use backstop_kit::HttpReject;
use tower_layer::Layer;

use super::{service::DeadlineService, trusted::TrustedHeaders};
use crate::{header::DeadlineHeader, settings::Settings};

/// Gives each request a deadline. See the [crate docs](crate#the-deadline).
///
/// `R` is how it rejects a request at its deadline: see [`Reject`](backstop_kit::Reject).
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DeadlineLayer<R = HttpReject> {
    settings: Settings<R>,
    trust: TrustedHeaders,
}

impl<R> DeadlineLayer<R> {
    pub(crate) fn with(settings: Settings<R>, trust: Vec<DeadlineHeader>) -> Self {
        Self { settings, trust: TrustedHeaders::new(trust) }
    }
}

impl<R> fmt::Debug for DeadlineLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.show(&mut f.debug_struct("DeadlineLayer")).field("trust", &self.trust.0).finish_non_exhaustive()
    }
}

impl<S, R: Clone> Layer<S> for DeadlineLayer<R> {
    type Service = DeadlineService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.settings.clone(), self.trust.clone())
    }
}
