//! The layer.

use std::{fmt, sync::Arc, time::Duration};

use backstop_core::Name;
use backstop_kit::{CopyAs, CopyRequest, Http, KeepAnswer, NotCopied, Protocol, Reject};
use tower_layer::Layer;

use crate::{Fallback, FallbackBuilder, FallbackChain, FallbackHandle, found::Found};

/// Answers with the next best source when the wrapped service fails. See the [crate docs](crate).
///
/// The wrapped service is the chain's primary, its provider 0. `P` is how the layer deals with requests and answers: see
/// [`Protocol`](backstop_kit::Protocol).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FallbackLayer<Req, Res, P = Http> {
    policy: Arc<Policy<Req, Res, P>>,
}

/// What all services of a layer share.
pub(crate) struct Policy<Req, Res, P> {
    pub(crate) primary: Name,
    pub(crate) primary_timeout: Option<Duration>,
    pub(crate) chain: FallbackChain<Req, Res>,
    pub(crate) protocol: P,
}

impl<Req, Res> FallbackLayer<Req, Res> {
    /// Puts `chain` behind the service, which the chain knows as `primary`.
    pub fn new(primary: Name, chain: FallbackChain<Req, Res>) -> Self {
        FallbackBuilder::new(primary.clone().into(), chain).named(primary)
    }

    /// Builds a layer with other settings.
    pub fn builder(
        primary: impl Into<std::borrow::Cow<'static, str>>,
        chain: FallbackChain<Req, Res>,
    ) -> FallbackBuilder<Req, Res> {
        FallbackBuilder::new(primary.into(), chain)
    }
}

impl<Req, Res, P> FallbackLayer<Req, Res, P> {
    pub(crate) fn with(policy: Policy<Req, Res, P>) -> Self {
        Self { policy: Arc::new(policy) }
    }

    /// The chain's handle.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        self.policy.chain.handle()
    }
}

impl<S, Req, Res, P> Layer<S> for FallbackLayer<Req, Res, P> {
    type Service = Fallback<S, Req, Res, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(inner, Arc::clone(&self.policy))
    }
}

impl<Req, Res, P> Clone for FallbackLayer<Req, Res, P> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<Req, Res, P> fmt::Debug for FallbackLayer<Req, Res, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.debug(&mut f.debug_struct("FallbackLayer"))
    }
}

impl<Req, Res, P> Policy<Req, Res, P> {
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("primary", &self.primary).field("chain", &self.chain).finish_non_exhaustive()
    }

    /// The request again, of what was kept of it.
    pub(crate) fn copied(
        &self,
        kept: &mut Option<<P::Copy as CopyRequest<Req>>::Kept>,
        copy: CopyAs,
    ) -> Result<Req, NotCopied>
    where
        P: Protocol,
        P::Copy: CopyRequest<Req>,
    {
        // Where nothing was kept, no provider asks.
        self.protocol.copy().copy(kept.as_mut().ok_or(NotCopied::HeadOnly)?, copy)
    }

    /// The answer, marked where it isn't the primary's.
    pub(crate) fn labelled<E>(&self, mut found: Found<Res>) -> Res
    where
        P: Protocol,
        P::Reject: Reject<Req, Res, E>,
        P::Keep: KeepAnswer<Res>,
    {
        if let Some(degradation) = &found.degradation {
            // Twice says the same: with `reject_as_error` the one knows nothing of answers, with `discard_replaced` the other.
            self.protocol.reject().label(&mut found.result.value, degradation);
            self.protocol.keep().label(&mut found.result.value, degradation);
        }
        found.result.value
    }
}
