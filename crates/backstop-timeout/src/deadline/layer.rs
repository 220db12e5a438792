//! The layer.

use std::{fmt, sync::Arc};

use backstop_core::Name;
use backstop_kit::{HttpReject, Reloadable};
use tower_layer::Layer;

use super::{
    handle::DeadlineHandle,
    layer_state::{DeadlineSettings, DeadlineState},
    service::DeadlineService,
};

/// Gives each request a deadline. See the [crate docs](crate#the-deadline).
///
/// `R` is how it rejects a request at its deadline: see [`Reject`](backstop_kit::Reject).
#[derive(Clone)]
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct DeadlineLayer<R = HttpReject> {
    settings: DeadlineState<R>,
}

impl<R> DeadlineLayer<R> {
    pub(super) fn with(name: Name, settings: DeadlineSettings, reject: R) -> Self {
        Self { settings: DeadlineState { name, reject, current: Arc::new(Reloadable::new(settings)) } }
    }

    /// A handle that shows and reloads the settings.
    #[must_use]
    pub fn handle(&self) -> DeadlineHandle {
        DeadlineHandle::new(self.settings.name.clone(), Arc::clone(&self.settings.current))
    }
}

impl<R> fmt::Debug for DeadlineLayer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.debug(&mut f.debug_struct("DeadlineLayer"))
    }
}

impl<S, R: Clone> Layer<S> for DeadlineLayer<R> {
    type Service = DeadlineService<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        DeadlineService::new(inner, self.settings.clone())
    }
}
