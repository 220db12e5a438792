//! The chain: providers in order of preference.

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use crate::{AllProvidersFailed, ProviderFailure};
use backstop_core::{Classify, Deadline, Freshness, Name, SetBy, scope};
use backstop_kit::{CloneCopy, CopyRequest, ErrorText, Keep, PlainJudge, RequestFacts, proof::Frame};
use tokio::time::Instant;

use crate::{
    FallbackChainBuilder, FallbackHandle, Provider, commit::Committer, forced::Forced, handle::Control, walk::Walk,
};

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
    pub(crate) judge: HandlerJudge<T>,
    pub(crate) repeatable: Repeatable<Req>,
    pub(crate) control: Arc<Control>,
    /// Waits for answers' bodies; `None` where answers count as soon as their heads have come.
    pub(crate) committer: Option<Committer<T>>,
    pub(crate) error_text: ErrorText,
}

/// What judges the answers in a handler.
pub(crate) type HandlerJudge<T> = PlainJudge<Box<dyn Classify<T> + Send + Sync>>;

/// Which requests may be repeated; `None` where a chain leaves that to what is known of them anyway.
pub(crate) type Repeatable<Req> = Option<Box<dyn Fn(&Req) -> bool + Send + Sync>>;

impl<Req, T> Chain<Req, T> {
    /// When the time is up of a request that came at `started`: after the total, or at the scope's deadline.
    pub(crate) fn limit(&self, started: Instant) -> Deadline {
        Deadline::at(started + self.total, SetBy::Us).narrowed_by(scope::deadline())
    }

    /// What is known of `request`: these facts, and what the chain was told of such requests.
    #[inline]
    pub(crate) fn narrowed(&self, facts: RequestFacts, request: &Req) -> RequestFacts {
        let is_repeatable = self.repeatable.as_ref().is_none_or(|holds| holds(request));
        if is_repeatable { facts } else { facts.never_repeated() }
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
    /// The providers that were passed before it, in order, and why. Empty where the first one answered.
    pub failures: Vec<ProviderFailure>,
}

impl<Req, T: 'static> FallbackChain<Req, T> {
    /// Builds a chain. It needs at least one [provider](FallbackChainBuilder::provider).
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FallbackChainBuilder<Req, T> {
        FallbackChainBuilder::new(name.into())
    }
}

impl<Req, T> FallbackChain<Req, T> {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &Name {
        &self.shared.name
    }

    /// Looks at the chain, and has its providers exercised.
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
    /// An answer from another provider than the first is reported in the current [scope](backstop_core::scope), from
    /// where the degradation headers take it.
    ///
    /// **Every request counts as safe to repeat**: after a time limit that passed or a connection that was lost, the next
    /// provider gets it too. For payments, orders, mails and the like say
    /// [`repeat_only_if`](FallbackChainBuilder::repeat_only_if): see [side effects](crate#side-effects).
    ///
    /// # Errors
    /// [`AllProvidersFailed`] names each provider and why it had no answer.
    ///
    /// # Cancellation
    /// Dropping the future drops the provider that is running.
    pub async fn execute(&self, request: Req) -> Result<FallbackResult<T>, AllProvidersFailed> {
        self.walk(request).await.map_err(Walk::into_failed)
    }

    /// The answer, or the whole way along which there was none.
    pub(crate) async fn walk(&self, request: Req) -> Result<FallbackResult<T>, Walk<Req, T>> {
        let chain = &self.shared;
        let started = Instant::now();
        let limit = chain.limit(started);
        let (facts, mut kept) = (chain.narrowed(CloneCopy.facts(&request), &request), request);
        // The first one is asked first anyway.
        if let Some(provider) = chain.control.draw().filter(|provider| *provider > 0 && facts.may_be_repeated()) {
            let others = chain.providers.len();
            let mut frame = Frame::detached();
            let copy = |copy| CloneCopy.copy(&mut kept, copy);
            let forced = Forced::start(chain, provider, others, started, limit, &mut frame, copy);
            if let Some(mut forced) = forced
                && let Some(found) = std::future::poll_fn(|cx| forced.poll(cx, &chain.judge, facts)).await
            {
                return Ok(found.result);
            }
        }
        let mut walk = Walk::new(Arc::clone(chain), started, limit, facts);
        let mut frame = Frame::detached();
        let found =
            std::future::poll_fn(|cx| walk.poll(cx, &chain.judge, &mut frame, |copy| CloneCopy.copy(&mut kept, copy)))
                .await;
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
            .field("total", &self.shared.total)
            .field("providers", &self.shared.providers)
            .finish_non_exhaustive()
    }
}
