//! The chain: providers in order of preference.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use backstop_core::{
    AllProvidersFailed, Classify, ClassifyFn, CloneCopy, ConfigError, CopyRequest, Deadline, ErrorRef, Freshness, Keep,
    Name, Outcome, SetBy, scope,
};
use tokio::time::Instant;

use crate::{Provider, walk::Walk};

/// Providers in order of preference, and the time they have together.
///
/// In an HTTP stack it stands behind the wrapped service: see [`FallbackLayer`](crate::FallbackLayer). In a handler, its
/// first provider is the primary, and [`execute`](Self::execute) asks one after another:
///
/// ```
/// use std::time::Duration;
/// use backstop_core::name;
/// use backstop_fallback::{FallbackChain, Provider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
///     .total(Duration::from_millis(300))
///     .provider(Provider::from_fn(name!("live"), |_item| async { Err::<&str, _>("the exchange is closed") }))
///     .provider(Provider::value(name!("list"), || async { "9.99" }))
///     .build()?;
///
/// let answer = prices.execute(7).await?;
/// assert_eq!(answer.value, "9.99");
/// assert_eq!(answer.source, "list");
/// assert!(answer.is_fallback);
/// # Ok(())
/// # }
/// ```
pub struct FallbackChain<Req, T> {
    shared: Arc<Chain<Req, T>>,
}

pub(crate) struct Chain<Req, T> {
    pub(crate) name: Name,
    pub(crate) total: Duration,
    pub(crate) providers: Vec<Provider<Req, T>>,
    /// What of a request must be kept for the providers.
    pub(crate) needs: Option<Keep>,
    judge: Box<dyn Classify<T> + Send + Sync>,
}

impl<Req, T> Chain<Req, T> {
    /// When the time is up of a request that came at `started`: after the total, or at the scope's deadline.
    pub(crate) fn limit(&self, started: Instant) -> Deadline {
        Deadline::at(started + self.total, SetBy::Us).narrowed_by(scope::deadline())
    }
}

/// What [`FallbackChain::execute`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackResult<T> {
    /// The answer.
    pub value: T,
    /// The provider that gave it.
    pub source: Name,
    /// How long the chain as a whole took.
    pub latency: Duration,
    /// Whether it is another provider's answer than the first one's.
    pub is_fallback: bool,
    /// How good it is. The first provider's answer is [`Freshness::Fresh`], unless it says otherwise.
    pub freshness: Freshness,
}

impl<Req, T: 'static> FallbackChain<Req, T> {
    /// Builds a chain. It needs at least one [provider](FallbackChainBuilder::provider).
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FallbackChainBuilder<Req, T> {
        FallbackChainBuilder {
            name: name.into(),
            total: DEFAULT_TOTAL,
            providers: Vec::new(),
            judge: Box::new(ClassifyFn::new(every_err_moves_on::<T>)),
        }
    }
}

impl<Req, T> FallbackChain<Req, T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The names of its providers, in order.
    pub fn providers(&self) -> impl Iterator<Item = &Name> {
        self.shared.providers.iter().map(Provider::name)
    }

    pub(crate) const fn shared(&self) -> &Arc<Chain<Req, T>> {
        &self.shared
    }
}

impl<Req: Clone, T> FallbackChain<Req, T> {
    /// Asks one provider after another until one answers.
    ///
    /// An answer from another provider than the first is reported in the current [scope](backstop_core::scope), from
    /// where the degradation headers take it.
    ///
    /// # Errors
    /// [`AllProvidersFailed`] names each provider and why it had no answer.
    ///
    /// # Cancellation
    /// Dropping the future drops the provider that is running.
    pub async fn execute(&self, request: Req) -> Result<FallbackResult<T>, AllProvidersFailed> {
        let chain = &self.shared;
        let started = Instant::now();
        let mut walk = Walk::new(Arc::clone(chain), started, chain.limit(started), CloneCopy.facts(&request));
        let mut kept = request;
        let found =
            std::future::poll_fn(|cx| walk.poll(cx, &*chain.judge, |copy| CloneCopy.copy(&mut kept, copy))).await;
        let Some(found) = found else { return Err(walk.into_failed()) };
        Ok(FallbackResult {
            value: found.value,
            source: found.source,
            latency: found.latency,
            is_fallback: found.is_fallback,
            freshness: found.freshness,
        })
    }
}

fn every_err_moves_on<T>(result: Result<&T, ErrorRef<'_>>) -> Outcome {
    if result.is_ok() { Outcome::success() } else { Outcome::failure() }
}

const DEFAULT_TOTAL: Duration = Duration::from_secs(5);
const LONGEST_TOTAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Builds a [`FallbackChain`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FallbackChainBuilder<Req, T> {
    name: Cow<'static, str>,
    total: Duration,
    providers: Vec<Provider<Req, T>>,
    judge: Box<dyn Classify<T> + Send + Sync>,
}

impl<Req, T> FallbackChainBuilder<Req, T> {
    /// The time that all providers have together, a wrapped service as well: 5 s unless set, more than 0 s, up to 24 h.
    ///
    /// Where the deadline of the [scope](backstop_core::scope) is earlier, that binds.
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }

    /// Adds the next provider in the order of preference.
    pub fn provider(mut self, provider: Provider<Req, T>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Judges in [`execute`](FallbackChain::execute) which results are answers. Unless set, every `Ok` is one.
    ///
    /// A [`FallbackLayer`](crate::FallbackLayer) judges by its own classifier.
    pub fn classify_fn<F>(mut self, judge: F) -> Self
    where
        F: Fn(Result<&T, ErrorRef<'_>>) -> Outcome + Send + Sync + 'static,
    {
        self.judge = Box::new(ClassifyFn::new(judge));
        self
    }

    /// The chain.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<FallbackChain<Req, T>, ConfigError> {
        let Self { name, total, providers, judge } = self;
        let name = Name::new(name)?;
        if total.is_zero() || total > LONGEST_TOTAL {
            return Err(ConfigError::new("total", format!("{total:?}"), "more than 0 s, up to 24 h"));
        }
        if providers.is_empty() {
            return Err(ConfigError::new("providers", "none", "at least one"));
        }
        for (i, provider) in providers.iter().enumerate() {
            check_timeout("timeout", provider.own_timeout(), total)?;
            if provider.concurrency_limit() == Some(0) {
                return Err(ConfigError::new("concurrency", "0", "1 or more"));
            }
            if providers[..i].iter().any(|earlier| earlier.name() == provider.name()) {
                return Err(ConfigError::new("provider", provider.name().clone(), "a name of its own in the chain"));
            }
        }
        let needs = providers.iter().filter_map(Provider::needs).max_by_key(|keep| *keep == Keep::Whole);
        Ok(FallbackChain { shared: Arc::new(Chain { name, total, providers, needs, judge }) })
    }
}

pub(crate) fn check_timeout(
    field: &'static str,
    timeout: Option<Duration>,
    total: Duration,
) -> Result<(), ConfigError> {
    match timeout {
        Some(timeout) if timeout.is_zero() || timeout > total => {
            Err(ConfigError::new(field, format!("{timeout:?}"), "more than 0 s, up to the chain's total"))
        }
        _ => Ok(()),
    }
}

impl<Req, T> Clone for FallbackChain<Req, T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<Req, T> fmt::Debug for FallbackChain<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackChain")
            .field("name", &self.shared.name)
            .field("total", &self.shared.total)
            .field("providers", &self.shared.providers)
            .finish_non_exhaustive()
    }
}

impl<Req, T> fmt::Debug for FallbackChainBuilder<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackChainBuilder")
            .field("name", &self.name)
            .field("total", &self.total)
            .field("providers", &self.providers)
            .finish_non_exhaustive()
    }
}
