//! The layer's builder.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstop_core::{ClassifyFn, ConfigError, ErrorRef, HttpClassify, Name, Outcome, Rejection};
use backstop_kit::{
    CloneCopy, DiscardReplaced, Http, HttpJudge, KeepReplaced, Plain, RejectAsError, RejectWith, Strategies,
    WithClassifier,
};
use http::StatusCode;

use crate::{
    FallbackChain, FallbackLayer, ProblemDetails, chain::settings::LayerSettings, layer_state::LayerState, metrics,
};

/// A builder with these strategies.
type BuilderOf<Req, Res, J, R, U, K, A> = FallbackBuilder<Req, Res, Strategies<J, R, U, K, A>>;

impl<Req, Res> FallbackLayer<Req, Res> {
    /// Puts `chain` behind the service, which the chain knows as `primary`.
    pub fn new(primary: Name, chain: FallbackChain<Req, Res>) -> Self {
        FallbackBuilder::new(primary.clone().into(), chain).named(primary, Arc::default())
    }

    /// Builds a layer with other settings.
    pub fn builder(primary: impl Into<Cow<'static, str>>, chain: FallbackChain<Req, Res>) -> FallbackBuilder<Req, Res> {
        FallbackBuilder::new(primary.into(), chain)
    }
}

/// Builds a [`FallbackLayer`]: see [`FallbackLayer::builder`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FallbackBuilder<Req, Res, P = Http> {
    primary: Cow<'static, str>,
    primary_timeout: Option<Duration>,
    chain: FallbackChain<Req, Res>,
    protocol: P,
    /// Checked against the chain's total by `build`.
    keep_within: Option<KeepReplaced>,
}

impl<Req, Res> FallbackBuilder<Req, Res> {
    pub(crate) fn new(primary: Cow<'static, str>, chain: FallbackChain<Req, Res>) -> Self {
        Self { primary, primary_timeout: None, chain, protocol: Http::default(), keep_within: None }
    }

    /// For functions and other services that don't speak HTTP: rejects with the service's error, which must implement
    /// `From<Rejection>`, as `BoxError` does. See [`Plain`].
    ///
    /// It replaces all other strategies, so it can only be called before they are chosen.
    pub fn plain(self) -> FallbackBuilder<Req, Res, Plain> {
        FallbackBuilder { keep_within: None, ..self.map(|_| Plain::default()) }
    }
}

impl<Req, Res, P> FallbackBuilder<Req, Res, P> {
    /// The limit of the wrapped service, readiness included. Unless set, its [share](crate#time) of the chain's total.
    pub fn primary_timeout(mut self, timeout: Duration) -> Self {
        self.primary_timeout = Some(timeout);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<FallbackLayer<Req, Res, P>, ConfigError> {
        let primary = Name::new(self.primary.clone())?;
        if self.chain.providers().any(|provider| *provider == primary) {
            return Err(ConfigError::new("primary", primary, "a name that no provider of the chain has"));
        }
        let layer = LayerSettings { primary_timeout: self.primary_timeout, keep: self.keep_within };
        let layer = self.chain.shared().control.settings.add_layer(layer)?;
        Ok(self.named(primary, layer))
    }

    /// The layer, with a checked configuration.
    fn named(self, primary: Name, settings: Arc<LayerSettings>) -> FallbackLayer<Req, Res, P> {
        let Self { chain, protocol, .. } = self;
        let primary_latency = metrics::latency(chain.name(), &primary);
        FallbackLayer::with(LayerState { primary, primary_latency, settings, chain, protocol, drill: OnceLock::new() })
    }

    fn map<P2>(self, f: impl FnOnce(P) -> P2) -> FallbackBuilder<Req, Res, P2> {
        let Self { primary, primary_timeout, chain, protocol, keep_within } = self;
        FallbackBuilder { primary, primary_timeout, chain, protocol: f(protocol), keep_within }
    }
}

impl<Req, Res, J, R, U, K, A> BuilderOf<Req, Res, J, R, U, K, A> {
    /// Judges results with `classify`.
    pub fn classify<C>(self, classify: C) -> BuilderOf<Req, Res, J::With<C>, R, U, K, A>
    where
        J: WithClassifier,
    {
        self.map(|protocol| protocol.with_judge(J::with_classifier(classify)))
    }

    /// Judges results with a closure. What it calls a success is an answer.
    pub fn classify_fn<F>(self, judge: F) -> BuilderOf<Req, Res, J::With<ClassifyFn<F>>, R, U, K, A>
    where
        J: WithClassifier,
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Answers with a problem document (RFC 9457) if no provider answered: see [`ProblemDetails`]. Its `providers` lists each
    /// provider, and why it didn't answer: `{"name":"cached","reason":"timeout"}`. Unless set, that answer has no body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
    pub fn problem_details(self) -> BuilderOf<Req, Res, J, ProblemDetails, U, K, A> {
        self.reject(ProblemDetails::new())
    }

    /// Fails with the service's own error if no provider answered. For errors that implement `From<Rejection>`.
    pub fn reject_as_error(self) -> BuilderOf<Req, Res, J, RejectAsError, U, K, A> {
        self.reject(RejectAsError::new())
    }

    /// Answers with the result of `make` if no provider answered.
    pub fn reject_with<F, E>(self, make: F) -> BuilderOf<Req, Res, J, RejectWith<F>, U, K, A>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.reject(RejectWith::new(make))
    }

    fn reject<R2>(self, reject: R2) -> BuilderOf<Req, Res, J, R2, U, K, A> {
        self.map(|protocol| protocol.with_reject(reject))
    }

    /// Copies requests with `copy`: an [`HttpCopy`](backstop_kit::HttpCopy) with another limit, or a strategy of your own.
    pub fn copy_requests<K2>(self, copy: K2) -> BuilderOf<Req, Res, J, R, U, K2, A> {
        self.map(|protocol| protocol.with_copy(copy))
    }

    /// Clones requests of any type. See [`CloneCopy`] for what you promise by that.
    pub fn clone_requests(self) -> BuilderOf<Req, Res, J, R, U, CloneCopy, A> {
        self.copy_requests(CloneCopy)
    }

    /// Keeps the primary's failed answer with other limits than the default [`KeepReplaced`].
    pub fn keep_replaced(self, keep: KeepReplaced) -> BuilderOf<Req, Res, J, R, U, K, KeepReplaced> {
        FallbackBuilder { keep_within: Some(keep), ..self.keep_replaced_by(keep) }
    }

    /// Keeps the primary's failed answer with `keep`, a strategy of your own.
    pub fn keep_replaced_by<A2>(self, keep: A2) -> BuilderOf<Req, Res, J, R, U, K, A2> {
        FallbackBuilder { keep_within: None, ..self.map(|protocol| protocol.with_keep(keep)) }
    }

    /// Drops the primary's failed answer. For types that can't be kept, such as `Response<Incoming>`.
    pub fn discard_replaced(self) -> BuilderOf<Req, Res, J, R, U, K, DiscardReplaced> {
        self.keep_replaced_by(DiscardReplaced)
    }
}

impl<Req, Res, R, U, K, A> BuilderOf<Req, Res, HttpJudge<HttpClassify>, R, U, K, A> {
    /// Also asks the next provider if the primary answers with `status`. Like [`HttpClassify::unanswered`] on your own
    /// classifier.
    pub fn fall_back_on(mut self, status: StatusCode) -> Self {
        self.protocol.judge.classify = self.protocol.judge.classify.unanswered(status);
        self
    }
}

impl<Req, Res, P> fmt::Debug for FallbackBuilder<Req, Res, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackBuilder")
            .field("primary", &self.primary)
            .field("primary_timeout", &self.primary_timeout)
            .field("chain", &self.chain)
            .finish_non_exhaustive()
    }
}
