//! The layer.

use std::{fmt, marker::PhantomData, sync::Arc, time::Duration};

use backstop_core::{
    Blame, Classify, CopyAs, CopyRequest, ErrorRef, HttpClassify, HttpCopy, HttpReject, KeepAnswer, KeepReplaced, Name,
    NotCopied, Outcome, Reason, Reject, RequestFacts, judge_error,
};
use tower_layer::Layer;

use crate::{Fallback, FallbackBuilder, FallbackChain, FallbackHandle, found::Found};

/// Answers with the next best source when the wrapped service fails. See the [crate docs](crate).
///
/// The wrapped service is the chain's primary, its provider 0. `C` judges results
/// ([`Classify`](backstop_core::Classify)), `J` makes the answer when nobody else did
/// ([`Reject`](backstop_core::Reject)), `K` copies requests for the providers
/// ([`CopyRequest`](backstop_core::CopyRequest)), and `A` keeps the primary's failed answer as the last resort
/// ([`KeepAnswer`](backstop_core::KeepAnswer)).
#[must_use = "a layer does nothing until it is applied to a service"]
pub struct FallbackLayer<Req, Res, C = HttpClassify, J = HttpReject, K = HttpCopy, A = KeepReplaced> {
    policy: Arc<Policy<Req, Res, C, J, K, A>>,
}

/// What all services of a layer share.
pub(crate) struct Policy<Req, Res, C, J, K, A> {
    pub(crate) primary: Name,
    pub(crate) primary_timeout: Option<Duration>,
    pub(crate) chain: FallbackChain<Req, Res>,
    pub(crate) classify: C,
    pub(crate) reject: J,
    pub(crate) copy: K,
    pub(crate) keep: A,
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

impl<Req, Res, C, J, K, A> FallbackLayer<Req, Res, C, J, K, A> {
    pub(crate) fn with(policy: Policy<Req, Res, C, J, K, A>) -> Self {
        Self { policy: Arc::new(policy) }
    }

    /// The chain's handle.
    #[must_use]
    pub fn handle(&self) -> FallbackHandle {
        self.policy.chain.handle()
    }
}

impl<S, Req, Res, C, J, K, A> Layer<S> for FallbackLayer<Req, Res, C, J, K, A> {
    type Service = Fallback<S, Req, Res, C, J, K, A>;

    fn layer(&self, inner: S) -> Self::Service {
        Fallback::new(inner, Arc::clone(&self.policy))
    }
}

impl<Req, Res, C, J, K, A> Clone for FallbackLayer<Req, Res, C, J, K, A> {
    fn clone(&self) -> Self {
        Self { policy: Arc::clone(&self.policy) }
    }
}

impl<Req, Res, C, J, K, A> fmt::Debug for FallbackLayer<Req, Res, C, J, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.policy.debug(&mut f.debug_struct("FallbackLayer"))
    }
}

impl<Req, Res, C, J, K, A> Policy<Req, Res, C, J, K, A> {
    pub(crate) fn debug(&self, f: &mut fmt::DebugStruct<'_, '_>) -> fmt::Result {
        f.field("primary", &self.primary).field("chain", &self.chain).finish_non_exhaustive()
    }

    /// The request again, of what was kept of it.
    pub(crate) fn copied(&self, kept: &mut Option<K::Kept>, copy: CopyAs) -> Result<Req, NotCopied>
    where
        K: CopyRequest<Req>,
    {
        // Where nothing was kept, no provider asks.
        self.copy.copy(kept.as_mut().ok_or(NotCopied::HeadOnly)?, copy)
    }

    /// What judges the answers to a request of which this is known.
    pub(crate) const fn judge<'a, E>(
        &'a self,
        facts: RequestFacts,
        context: &'a J::Context,
    ) -> Judge<'a, Req, E, C, J, A, J::Context>
    where
        J: Reject<Req, Res, E>,
    {
        let kept = Kept { classify: &self.classify, keep: &self.keep, facts };
        Judge { kept, reject: &self.reject, context, types: PhantomData }
    }

    /// The answer, marked where it isn't the primary's.
    pub(crate) fn labelled<E>(&self, mut found: Found<Res>) -> Res
    where
        J: Reject<Req, Res, E>,
        A: KeepAnswer<Res>,
    {
        if let Some(degradation) = &found.degradation {
            // Twice says the same: with `reject_as_error` the one knows nothing of answers, with `discard_replaced` the other.
            self.reject.label(&mut found.result.value, degradation);
            self.keep.label(&mut found.result.value, degradation);
        }
        found.result.value
    }
}

/// The classifier, behind what the strategies know of the layer's types: how rejections and gRPC's answers look.
pub(crate) struct Judge<'a, Req, E, C, J, A, X> {
    kept: Kept<'a, C, A>,
    reject: &'a J,
    context: &'a X,
    types: PhantomData<fn(Req) -> E>,
}

/// The classifier, behind what the one that keeps answers knows.
struct Kept<'a, C, A> {
    classify: &'a C,
    keep: &'a A,
    facts: RequestFacts,
}

impl<Req, E, C, J, A, X> Judge<'_, Req, E, C, J, A, X> {
    /// What a result counts as, the primary's too.
    #[inline]
    pub(crate) fn outcome<Res>(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome
    where
        C: Classify<Res>,
        J: Reject<Req, Res, E, Context = X>,
        A: KeepAnswer<Res>,
    {
        match result {
            Ok(answer) => self.reject.judge(self.context, &self.kept, answer),
            Err(error) => judge_error(self.kept.classify, error),
        }
    }
}

/// As a provider's.
impl<Req, Res, E, C, J, A> Classify<Res> for Judge<'_, Req, E, C, J, A, J::Context>
where
    C: Classify<Res>,
    J: Reject<Req, Res, E>,
    A: KeepAnswer<Res>,
{
    #[inline]
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        let outcome = self.outcome(result);
        let is_unasked = result.is_ok_and(|answer| self.kept.keep.is_unasked(answer));
        // A miss, whatever the classifier makes of it.
        if is_unasked { outcome.blaming(Blame::Request) } else { outcome }
    }

    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        match result {
            Ok(answer) => self.reject.reason(self.context, &self.kept, answer),
            Err(error) => self.kept.classify.reason(Err(error)),
        }
    }
}

impl<Res, C: Classify<Res>, A: KeepAnswer<Res>> Classify<Res> for Kept<'_, C, A> {
    #[inline]
    fn classify(&self, result: Result<&Res, ErrorRef<'_>>) -> Outcome {
        match result {
            Ok(answer) => self.keep.judge(self.facts, self.classify, answer),
            Err(error) => self.classify.classify(Err(error)),
        }
    }

    fn reason(&self, result: Result<&Res, ErrorRef<'_>>) -> Reason {
        match result {
            Ok(answer) => self.keep.reason(self.facts, self.classify, answer),
            Err(error) => self.classify.reason(Err(error)),
        }
    }
}
