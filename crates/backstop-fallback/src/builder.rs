//! The layer's builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{
    ClassifyFn, CloneCopy, ConfigError, DiscardReplaced, ErrorRef, HttpClassify, HttpCopy, HttpReject, KeepReplaced,
    Name, Outcome, ProblemDetails, RejectAsError, RejectWith, Rejection,
};
use http::StatusCode;

use crate::{FallbackChain, FallbackLayer, chain_builder::check_timeout, layer::Policy};

/// Builds a [`FallbackLayer`]: see [`FallbackLayer::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FallbackBuilder<Req, Res, C = HttpClassify, J = HttpReject, K = HttpCopy, A = KeepReplaced> {
    primary: Cow<'static, str>,
    primary_timeout: Option<Duration>,
    chain: FallbackChain<Req, Res>,
    classify: C,
    reject: J,
    copy: K,
    keep: A,
    /// Limits that must fit into the chain's total.
    keep_within: Option<KeepReplaced>,
}

impl<Req, Res> FallbackBuilder<Req, Res> {
    pub(crate) fn new(primary: Cow<'static, str>, chain: FallbackChain<Req, Res>) -> Self {
        Self {
            primary,
            primary_timeout: None,
            chain,
            classify: HttpClassify::new(),
            reject: HttpReject::default(),
            copy: HttpCopy::default(),
            keep: KeepReplaced::default(),
            keep_within: None,
        }
    }
}

impl<Req, Res, C, J, K, A> FallbackBuilder<Req, Res, C, J, K, A> {
    /// The longest time that the wrapped service may take, readiness included. Unless set it is its
    /// [share](crate#time) of the chain's total.
    pub fn primary_timeout(mut self, timeout: Duration) -> Self {
        self.primary_timeout = Some(timeout);
        self
    }

    /// Judges results with `classify`.
    pub fn classify<C2>(self, classify: C2) -> FallbackBuilder<Req, Res, C2, J, K, A> {
        let Self { primary, primary_timeout, chain, reject, copy, keep, keep_within, .. } = self;
        FallbackBuilder { primary, primary_timeout, chain, classify, reject, copy, keep, keep_within }
    }

    /// Judges results with a closure. What it calls a success is an answer.
    pub fn classify_fn<F>(self, judge: F) -> FallbackBuilder<Req, Res, ClassifyFn<F>, J, K, A>
    where
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Answers with a problem document (RFC 9457) when nobody answered: [`ProblemDetails`] shows it. Unless set, that
    /// answer has no body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_core::WrapBody).
    pub fn problem_details(self) -> FallbackBuilder<Req, Res, C, ProblemDetails, K, A> {
        self.reject(ProblemDetails::new())
    }

    /// Fails with the service's own error when nobody answered, for errors that implement `From<Rejection>`.
    pub fn reject_as_error(self) -> FallbackBuilder<Req, Res, C, RejectAsError, K, A> {
        self.reject(RejectAsError::new())
    }

    /// Answers with what `make` makes of the rejection when nobody answered.
    pub fn reject_with<F, E>(self, make: F) -> FallbackBuilder<Req, Res, C, RejectWith<F>, K, A>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.reject(RejectWith::new(make))
    }

    fn reject<J2>(self, reject: J2) -> FallbackBuilder<Req, Res, C, J2, K, A> {
        let Self { primary, primary_timeout, chain, classify, copy, keep, keep_within, .. } = self;
        FallbackBuilder { primary, primary_timeout, chain, classify, reject, copy, keep, keep_within }
    }

    /// Copies requests by `copy`: an [`HttpCopy`] with another limit, or a strategy of your own.
    pub fn copy_requests<K2>(self, copy: K2) -> FallbackBuilder<Req, Res, C, J, K2, A> {
        let Self { primary, primary_timeout, chain, classify, reject, keep, keep_within, .. } = self;
        FallbackBuilder { primary, primary_timeout, chain, classify, reject, copy, keep, keep_within }
    }

    /// Clones requests, of whatever type: for services that don't speak HTTP. See [`CloneCopy`] for what that promises.
    pub fn clone_requests(self) -> FallbackBuilder<Req, Res, C, J, CloneCopy, A> {
        self.copy_requests(CloneCopy)
    }

    /// Keeps the primary's failed answer within other limits than the default [`KeepReplaced`]'s.
    pub fn keep_replaced(self, keep: KeepReplaced) -> FallbackBuilder<Req, Res, C, J, K, KeepReplaced> {
        FallbackBuilder { keep_within: Some(keep), ..self.keep_replaced_by(keep) }
    }

    /// Keeps the primary's failed answer by `keep`, a strategy of your own.
    pub fn keep_replaced_by<A2>(self, keep: A2) -> FallbackBuilder<Req, Res, C, J, K, A2> {
        let Self { primary, primary_timeout, chain, classify, reject, copy, .. } = self;
        FallbackBuilder { primary, primary_timeout, chain, classify, reject, copy, keep, keep_within: None }
    }

    /// Drops the primary's failed answer, instead of keeping it as the last resort: for answers that can't be kept, such
    /// as `Response<Incoming>`.
    pub fn discard_replaced(self) -> FallbackBuilder<Req, Res, C, J, K, DiscardReplaced> {
        self.keep_replaced_by(DiscardReplaced)
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<FallbackLayer<Req, Res, C, J, K, A>, ConfigError> {
        let primary = Name::new(self.primary.clone())?;
        let total = self.chain.shared().total;
        check_timeout("primary_timeout", self.primary_timeout, total)?;
        self.keep_within.map_or(Ok(()), |keep| keep.check_within(total))?;
        if self.chain.providers().any(|provider| *provider == primary) {
            return Err(ConfigError::new("primary", primary, "a name that no provider of the chain has"));
        }
        Ok(self.named(primary))
    }

    /// The layer, where nothing else can be wrong.
    pub(crate) fn named(self, primary: Name) -> FallbackLayer<Req, Res, C, J, K, A> {
        let Self { primary_timeout, chain, classify, reject, copy, keep, .. } = self;
        FallbackLayer::with(Policy { primary, primary_timeout, chain, classify, reject, copy, keep })
    }
}

impl<Req, Res, J, K, A> FallbackBuilder<Req, Res, HttpClassify, J, K, A> {
    /// Goes on to the next provider when the primary answers with `status`, beside those that are failures anyway:
    /// [`HttpClassify::unanswered`], which a classifier given by [`classify`](Self::classify) has too.
    pub fn fall_back_on(mut self, status: StatusCode) -> Self {
        self.classify = self.classify.unanswered(status);
        self
    }
}

impl<Req, Res, C, J, K, A> fmt::Debug for FallbackBuilder<Req, Res, C, J, K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBuilder")
            .field("primary", &self.primary)
            .field("primary_timeout", &self.primary_timeout)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
