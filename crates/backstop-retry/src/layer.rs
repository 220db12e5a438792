//! The layer.

use std::{fmt, sync::Arc};

use backstop_kit::Http;
use tower_layer::Layer;

use crate::{Retry, RetryHandle, policy::Policy};

/// Repeats failed requests where repeating is safe. See the [crate docs](crate).
///
/// `P` is how it handles requests and answers: see [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<P = Http> {
    policy: Arc<Policy<P>>,
}

impl<P> RetryLayer<P> {
    pub(crate) fn with(policy: Policy<P>) -> Self {
        Self { policy: Arc::new(policy) }
    }

    /// A handle to what all services of this layer share.
    ///
    /// ```
    /// use backstop_retry::{RetryLayer, name};
    ///
    /// let retry = RetryLayer::new(name!("ml_service"));
    /// assert_eq!(retry.handle().budget().map(|budget| budget.available()), Some(200));
    /// ```
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(self.policy.settings.name.clone(), self.policy.budget.clone())
    }
}

impl<P> Clone for RetryLayer<P> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<P> fmt::Debug for RetryLayer<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.debug(f.debug_struct("RetryLayer"))
    }
}

impl<S, P> Layer<S> for RetryLayer<P> {
    type Service = Retry<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.policy))
    }
}
