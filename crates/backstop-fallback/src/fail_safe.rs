//! Chains that can't fail.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::{ConfigError, Freshness, Name, name};

use crate::{Drill, FallbackChain, FallbackChainBuilder, FallbackHandle, FallbackResult};

/// The name that the default has in results, headers and logs.
const DEFAULT: Name = name!("default");

/// Providers in order of preference, and a default that is always there: made by
/// [`FallbackChainBuilder::fail_safe`].
///
/// The default isn't a provider: it has no share of the time, and no classifier judges it. In results, headers and logs it is the
/// source `default` with the freshness [`Degraded`](Freshness::Degraded).
///
/// ```
/// use backstop_core::name;
/// use backstop_fallback::{FallbackChain, Provider};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let related = FallbackChain::builder("related_items")
///     .provider(Provider::from_fn(name!("ml_service"), |_item: u32| async { Err::<Vec<u32>, _>("down") }))
///     .fail_safe(Vec::new())
///     .build()?;
///
/// let none = related.execute(7).await;
/// assert!(none.value.is_empty());
/// assert_eq!(none.source, "default");
/// assert_eq!(none.failures[0].provider, "ml_service");
/// # Ok(())
/// # }
/// ```
///
/// Behind a [`FallbackLayer`](crate::FallbackLayer), whose chain may end with any response, a
/// [`Provider::value`](crate::Provider::value) at the end does the same.
pub struct FailSafeChain<Req, T> {
    chain: FallbackChain<Req, T>,
    default: Arc<dyn Fn() -> T + Send + Sync>,
}

impl<Req, T> FailSafeChain<Req, T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        self.chain.name()
    }

    /// The chain's handle.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        self.chain.handle().with_default()
    }

    /// The names of its providers, in order, without the default.
    pub fn providers(&self) -> impl Iterator<Item = &Name> {
        self.chain.providers()
    }
}

impl<Req: Send + 'static, T: 'static> FailSafeChain<Req, T> {
    /// As [`FallbackChain::with_drill`].
    ///
    /// # Errors
    /// Those of `FallbackChain::with_drill`.
    pub fn with_drill(self, drill: Drill<Req>) -> Result<Self, ConfigError> {
        Ok(Self { chain: self.chain.with_drill(drill)?, ..self })
    }
}

impl<Req: Clone, T> FailSafeChain<Req, T> {
    /// Asks one provider after another until one answers; if none does, the default is the answer.
    ///
    /// Otherwise like [`FallbackChain::execute`], which also says what happens to requests that aren't safe to repeat.
    ///
    /// # Cancellation
    /// Dropping the future drops the provider that is running.
    pub async fn execute(&self, request: Req) -> FallbackResult<T> {
        match self.chain.walk(request).await {
            Ok(result) => result,
            Err(mut walk) => walk.answered(DEFAULT, (self.default)(), Freshness::Degraded, Duration::ZERO).result,
        }
    }
}

/// Builds a [`FailSafeChain`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FailSafeBuilder<Req, T> {
    chain: FallbackChainBuilder<Req, T>,
    default: Box<dyn Fn() -> T + Send + Sync>,
}

impl<Req, T> FallbackChainBuilder<Req, T> {
    /// Ends the chain with `default`, so that it can't fail: [`FailSafeChain::execute`](crate::FailSafeChain::execute)
    /// has no error.
    pub fn fail_safe(self, default: T) -> FailSafeBuilder<Req, T>
    where
        T: Clone + Send + Sync + 'static,
    {
        self.fail_safe_with(move || default.clone())
    }

    /// Ends the chain with the result of `default`, so that it can't fail.
    pub fn fail_safe_with(self, default: impl Fn() -> T + Send + Sync + 'static) -> FailSafeBuilder<Req, T> {
        FailSafeBuilder::new(self, Box::new(default))
    }
}

impl<Req, T> FailSafeBuilder<Req, T> {
    pub(crate) fn new(chain: FallbackChainBuilder<Req, T>, default: Box<dyn Fn() -> T + Send + Sync>) -> Self {
        Self { chain, default }
    }

    /// The chain.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<FailSafeChain<Req, T>, ConfigError> {
        let chain = self.chain.build()?;
        if chain.providers().any(|provider| *provider == DEFAULT) {
            return Err(ConfigError::new("provider", DEFAULT, "any name but that of the chain's default"));
        }
        Ok(FailSafeChain { chain, default: self.default.into() })
    }
}

impl<Req, T> Clone for FailSafeChain<Req, T> {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), default: Arc::clone(&self.default) }
    }
}

impl<Req, T> fmt::Debug for FailSafeChain<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailSafeChain").field("chain", &self.chain).finish_non_exhaustive()
    }
}

impl<Req, T> fmt::Debug for FailSafeBuilder<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FailSafeBuilder").field("chain", &self.chain).finish_non_exhaustive()
    }
}
