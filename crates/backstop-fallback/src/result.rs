//! What a chain found.

use std::time::Duration;

use backstop_core::{Freshness, Name};

use crate::ProviderFailure;

/// What [`FallbackChain::execute`](crate::FallbackChain::execute) found.
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
