//! The layer.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Name, Outcome};
use backstop_kit::Http;
use tower_layer::Layer;

use crate::{
    Budget, Retry, RetryBudget, RetryBuilder, RetryConfig, RetryHandle,
    backoff::{Grown, Jitter},
    config::Settings,
};

/// Repeats requests that failed, where repeating is safe. See the [crate docs](crate).
///
/// `P` is how it deals with requests and answers: see [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct RetryLayer<P = Http> {
    policy: Arc<Policy<P>>,
}

/// What all services of a layer share.
pub(crate) struct Policy<P> {
    pub(crate) settings: Settings,
    /// `None` where retries aren't counted.
    pub(crate) budget: Option<RetryBudget>,
    pub(crate) protocol: P,
    jitter: Jitter,
}

impl RetryLayer {
    /// At most 3 attempts within 60 s, with waits of up to 100 ms and 200 ms, and a [budget](RetryBudget) of its own.
    pub fn new(name: Name) -> Self {
        Self::with(Policy::new(Settings::new(name), Budget::Own, None, Http::default()))
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_retry::RetryLayer;
    ///
    /// let error = RetryLayer::builder("ml_service").max_attempts(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_attempts is 0, allowed is: 1 to 1000");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> RetryBuilder {
        RetryBuilder::new(RetryConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`RetryBuilder::build`].
    pub fn from_config(config: RetryConfig) -> Result<Self, ConfigError> {
        RetryBuilder::new(config).build()
    }
}

impl<P> RetryLayer<P> {
    pub(crate) fn with(policy: Policy<P>) -> Self {
        Self { policy: Arc::new(policy) }
    }

    /// Looks at what all services of this layer share.
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

impl<P> Policy<P> {
    pub(crate) fn new(settings: Settings, budget: Budget, seed: Option<u64>, protocol: P) -> Self {
        let budget = match budget {
            Budget::Own => Some(RetryBudget::default()),
            Budget::Shared(budget) => Some(budget),
            Budget::Unlimited => None,
        };
        Self { settings, budget, protocol, jitter: Jitter::new(seed) }
    }

    /// The wait after `attempts` attempts, where the server has named none.
    pub(crate) fn backoff(&self, attempts: u32, grown: Grown, outcome: &Outcome) -> Duration {
        self.settings.waits.wait(attempts, grown, outcome, &self.jitter)
    }

    /// The protocol may hold closures, which have nothing to show.
    pub(crate) fn debug(&self, mut f: fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("settings", &self.settings).field("budget", &self.budget).finish_non_exhaustive()
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
