//! Calls each provider once, to prove that it works before it is needed.

use std::{error::Error, fmt, future::poll_fn};

use backstop_core::{Name, Reason};
use backstop_kit::{
    CloneCopy, CopyAs, CopyRequest, Judge, JudgeRequest, NotCopied, Protocol, RequestFacts, proof::Frame,
};
use tokio::time::Instant;

use crate::{
    FallbackChain, FallbackLayer, ProviderFailure,
    chain::shared::Chain,
    concurrency::Permit,
    miss::ProviderMiss,
    proven::ProvenBy,
    provider_call::{ProviderCall, is_proof},
    request_state::copied,
    share::next_deadline,
};

/// Some providers of a chain didn't answer when [each was asked](FallbackChain::prove_each_provider).
///
/// Its text names them, their reasons and their errors, for a failed test. Don't send it to a caller.
#[derive(Clone, PartialEq, Eq)]
pub struct UnprovenProviders {
    chain: Name,
    failures: Vec<ProviderFailure>,
}

impl UnprovenProviders {
    /// The name of the chain.
    #[must_use]
    pub const fn chain(&self) -> &Name {
        &self.chain
    }

    /// The providers that didn't answer, in order, and why. All others are proven.
    #[must_use]
    pub fn failures(&self) -> &[ProviderFailure] {
        &self.failures
    }
}

impl fmt::Display for UnprovenProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "providers of {} that don't answer:", self.chain)?;
        for (i, ProviderFailure { provider, reason, error, .. }) in self.failures.iter().enumerate() {
            write!(f, "{} {provider} ({reason}", if i == 0 { "" } else { "," })?;
            if let Some(error) = error {
                write!(f, ": {error}")?;
            }
            f.write_str(")")?;
        }
        Ok(())
    }
}

/// As it is displayed, so that `unwrap` shows it.
impl fmt::Debug for UnprovenProviders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Error for UnprovenProviders {}

impl<Req: Clone, T> FallbackChain<Req, T> {
    /// Asks each provider once, one after another, whether or not those before it answer.
    ///
    /// A fallback that is never used may have been broken for months. Call this in a test, or when the service starts:
    ///
    /// ```
    /// use backstop_fallback::{FallbackChain, Provider, name};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
    ///     .provider(Provider::from_fn(name!("live"), |_item| async { "9.99" }))
    ///     .provider(Provider::from_fn(name!("replica"), |_item| async { Err::<&str, _>("no such table: prices") }))
    ///     .provider(Provider::value(name!("list"), || async { "9.50" }))
    ///     .build()?;
    ///
    /// let unproven = prices.prove_each_provider(7).await.unwrap_err();
    /// let text = "providers of prices that don't answer: replica (error: no such table: prices)";
    /// assert_eq!(unproven.to_string(), text);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Each provider has the least time that it may have in a call: its share of the total if all others use theirs, and at
    /// most its own timeout. Its [`concurrency`](crate::Provider::concurrency) and [`only_if`](crate::Provider::only_if)
    /// apply; [`only_when`](crate::Provider::only_when) and the [rule of side effects](crate#side-effects) don't. **Every
    /// provider gets the request**: choose one that changes nothing.
    ///
    /// The answers are dropped. Nothing is counted or logged; a provider that answers is
    /// [proven](crate::FallbackStatus::last_proven).
    ///
    /// A provider of an HTTP answer is only judged as one by [`FallbackLayer::prove_each_provider`]: here, a 503 is an `Ok`,
    /// unless the chain's [classifier](crate::FallbackChainBuilder::classify_fn) says otherwise.
    ///
    /// # Errors
    /// [`UnprovenProviders`] names each provider without an answer, and why.
    ///
    /// # Cancellation
    /// Dropping the future drops the provider that is running.
    pub async fn prove_each_provider(&self, request: Req) -> Result<(), UnprovenProviders> {
        let chain = self.shared();
        let facts = CloneCopy.facts(&request);
        prove(chain, chain.providers.len(), &chain.judge, &CloneCopy, request, facts).await
    }
}

impl<Req, Res, P: Protocol> FallbackLayer<Req, Res, P> {
    /// Asks each provider of the chain once, with a copy of the request, and judges it as the layer does. The wrapped service
    /// isn't asked. See [`FallbackChain::prove_each_provider`].
    ///
    /// ```
    /// use axum::{body::Body, http::{Request, StatusCode}};
    /// use backstop_fallback::{FallbackChain, FallbackLayer, Provider, name};
    ///
    /// # #[cfg(feature = "axum")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let chain = FallbackChain::builder("recommendations")
    ///     .provider(Provider::handler(name!("replica"), || async { StatusCode::BAD_GATEWAY }))
    ///     .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
    ///     .build()?;
    /// let layer: FallbackLayer<_, _> = FallbackLayer::new(name!("ml_service"), chain);
    ///
    /// let unproven = layer.prove_each_provider(Request::get("/items").body(Body::empty())?).await.unwrap_err();
    /// assert_eq!(unproven.to_string(), "providers of recommendations that don't answer: replica (status-502)");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "axum"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    /// [`UnprovenProviders`] names each provider without an answer, and why.
    pub async fn prove_each_provider(&self, request: Req) -> Result<(), UnprovenProviders>
    where
        P::Judge: JudgeRequest<Req> + Judge<Res>,
        P::Copy: CopyRequest<Req>,
    {
        let (chain, judge, copy) = (self.state.chain.shared(), self.state.protocol.judge(), self.state.protocol.copy());
        let facts = judge.facts(&request, copy.facts(&request));
        prove(chain, chain.providers.len() + 1, judge, copy, request, facts).await
    }
}

/// Asks each provider. `sharing` is how many share the time.
async fn prove<Req, T, J: Judge<T>, C: CopyRequest<Req>>(
    chain: &Chain<Req, T>,
    sharing: usize,
    judge: &J,
    copy: &C,
    mut request: Req,
    facts: RequestFacts,
) -> Result<(), UnprovenProviders> {
    let mut facts = chain.marked(facts, &request);
    let mut kept = copy.keep(&mut request, &mut facts, chain.needs);
    drop(request);
    let mut failures = Vec::new();
    for (i, provider) in chain.providers.iter().enumerate() {
        let copy = |copy| copied(&mut kept, copy);
        match ask(chain, sharing, judge, i, facts, |limit| provider.admit(limit), copy).await {
            Ok(()) => chain.control.proofs.prove(i, ProvenBy::Proof),
            Err(ProviderMiss { miss, error }) => {
                failures.push(ProviderFailure::new(provider.name().clone(), miss.reason).with_error(error));
            }
        }
    }
    if failures.is_empty() { Ok(()) } else { Err(UnprovenProviders { chain: chain.name.clone(), failures }) }
}

/// Whether a provider answered, or why it didn't.
pub(crate) type Asked = Result<(), ProviderMiss>;

/// Asks one provider, with the least time that it may have in a call, if it is admitted.
pub(crate) async fn ask<Req, T, J: Judge<T>>(
    chain: &Chain<Req, T>,
    sharing: usize,
    judge: &J,
    provider: usize,
    facts: RequestFacts,
    admit: impl FnOnce(Option<usize>) -> Result<Permit, Reason>,
    copy: impl FnOnce(CopyAs) -> Result<Req, NotCopied>,
) -> Asked {
    let (now, snapshot) = (Instant::now(), chain.control.settings.snapshot());
    let settings = chain.settings(&snapshot);
    let permit = admit(settings.concurrency_of(provider)).map_err(ProviderMiss::not_asked)?;
    let deadline = next_deadline(now, settings.limit(now), sharing as u32, settings.timeout_of(provider));
    let (source, mut frame) = (&chain.providers[provider], Frame::detached());
    let mut call = ProviderCall::begin(chain, source, permit, deadline, &mut frame, copy)?;
    poll_fn(|cx| call.poll(cx, judge, facts, is_proof, chain)).await.map(drop)
}
