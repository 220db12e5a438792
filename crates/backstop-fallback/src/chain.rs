//! The chain: providers in order of preference.

use std::{fmt, sync::Arc};

use backstop_core::Name;
use backstop_kit::{CloneCopy, CopyRequest, proof::Frame};
use tokio::time::Instant;

use crate::{AllProvidersFailed, FallbackHandle, FallbackResult, Provider, forced::Forced, walk::Walk};

mod config;
mod fallback_config;
pub(crate) mod settings;
pub(crate) mod shared;

pub use config::FallbackChainBuilder;
pub use fallback_config::{FallbackConfig, ProviderConfig};
use shared::Chain;

/// Providers in order of preference, and the time they have together.
///
/// In an HTTP stack it stands behind the wrapped service: see [`FallbackLayer`](crate::FallbackLayer). In a handler, its first
/// provider is the primary, and [`execute`](Self::execute) asks one provider after another:
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

impl<Req, T> FallbackChain<Req, T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// The chain's handle.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        FallbackHandle::new(Arc::clone(&self.shared.control))
    }

    /// The names of its providers, in order.
    pub fn providers(&self) -> impl Iterator<Item = &Name> {
        self.shared.providers.iter().map(Provider::name)
    }

    pub(crate) fn new(chain: Chain<Req, T>) -> Self {
        Self { shared: Arc::new(chain) }
    }

    pub(crate) const fn shared(&self) -> &Arc<Chain<Req, T>> {
        &self.shared
    }
}

impl<Req: Clone, T> FallbackChain<Req, T> {
    /// Asks one provider after another until one answers.
    ///
    /// An answer from another provider than the first is reported in the current [scope](backstop_core::scope), where the
    /// degradation headers find it.
    ///
    /// **Every request counts as safe to repeat**: after a timeout or a lost connection, the next provider gets it, too. For
    /// payments, orders, mails and the like set [`repeat_only_if`](FallbackChainBuilder::repeat_only_if): see
    /// [side effects](crate#side-effects).
    ///
    /// # Errors
    /// [`AllProvidersFailed`] names each provider and why it had no answer.
    ///
    /// # Cancellation
    /// Dropping the future drops the provider that is running.
    pub async fn execute(&self, request: Req) -> Result<FallbackResult<T>, AllProvidersFailed> {
        self.walk(request).await.map_err(Walk::into_failed)
    }

    /// The answer, or the walk without one.
    pub(crate) async fn walk(&self, request: Req) -> Result<FallbackResult<T>, Walk<Req, T>> {
        let chain = &self.shared;
        let (started, settings) = (Instant::now(), chain.control.settings.snapshot());
        let (facts, kept) = (chain.marked(CloneCopy.facts(&request), &request), request);
        // The first one is asked first anyway.
        if let Some(provider) = chain.control.draw().filter(|provider| *provider > 0 && chain.may_force(facts)) {
            let mut frame = Frame::detached();
            let copy = |_| Ok(kept.clone());
            let forced = Forced::start(chain, chain.settings(&settings), provider, 0, started, &mut frame, copy);
            if let Some(mut forced) = forced
                && let Some(found) = std::future::poll_fn(|cx| forced.poll(cx, &chain.judge, facts)).await
            {
                return Ok(found.result);
            }
        }
        if chain.control.drills.is_due()
            && let Some(drill) = chain.drill.get()
        {
            drill.offer(&chain.control, &kept, facts, Some(&mut kept.clone()));
        }
        let mut walk = Walk::new(Arc::clone(chain), settings, started, facts);
        let mut frame = Frame::detached();
        let found = std::future::poll_fn(|cx| walk.poll(cx, &chain.judge, &mut frame, |_| Ok(kept.clone()))).await;
        found.map(|found| found.result).ok_or(walk)
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
            .field("total", &self.handle().total())
            .field("providers", &self.shared.providers)
            .finish_non_exhaustive()
    }
}
