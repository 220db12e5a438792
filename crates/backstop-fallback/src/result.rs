//! The result of a chain.

use std::time::Duration;

use backstop_core::{Freshness, Name};

use crate::ProviderFailure;

/// The result of [`FallbackChain::execute`](crate::FallbackChain::execute).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackResult<T> {
    /// The answer.
    pub value: T,
    /// The provider that gave it.
    pub source: Name,
    /// How long the chain as a whole took.
    pub latency: Duration,
    /// How long the provider that gave the answer took.
    pub provider_latency: Duration,
    /// Whether another provider than the first one gave it.
    pub is_fallback: bool,
    /// How good it is. The first provider's answer is [`Freshness::Fresh`], unless it says otherwise.
    pub freshness: Freshness,
    /// The providers before it, in order, and why they didn't answer. Empty if the first one answered.
    pub failures: Vec<ProviderFailure>,
}
