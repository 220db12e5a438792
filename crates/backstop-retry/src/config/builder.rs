//! The builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ClassifyFn, ConfigError, ErrorRef, HttpClassify, Name, Outcome};
use backstop_kit::{
    CloneCopy, DiscardReplaced, ErrorText, Http, HttpCopy, HttpJudge, KeepReplaced, Plain, RequestFacts, Strategies,
    WithClassifier,
};
use http::{HeaderName, StatusCode};

use crate::{
    Backoff, BackoffFn, Budget, RepeatIf, RepeatWhen, RetryBudget, RetryConfig, RetryLayer, config::Settings,
    policy::Policy,
};

/// The same strategies with a judge that asks `C`.
type Judging<J, C, R, K, A> = Strategies<<J as WithClassifier>::With<C>, R, K, A>;

impl RetryLayer {
    /// At most 3 attempts within 60 s, with waits of up to 100 ms and 200 ms, and a [budget](RetryBudget) of its own.
    pub fn new(name: Name) -> Self {
        Self::with(Policy::new(Settings::new(name), Budget::Own, None, Http::default(), ErrorText::default()))
    }

    /// Builds a layer with other settings.
    ///
    /// ```
    /// use backstop_retry::RetryLayer;
    ///
    /// let error = RetryLayer::builder("ml_service").max_attempts(0).build().unwrap_err();
    /// assert_eq!(error.to_string(), "max_attempts is 0, allowed is: 1 to 1000");
    /// ```
    pub fn builder(name: impl Into<Cow<'static, str>>) -> RetryBuilder {
        RetryBuilder::new(RetryConfig::new(name))
    }

    /// The layer that `config` describes.
    ///
    /// # Errors
    /// As [`RetryBuilder::build`].
    pub fn from_config(config: RetryConfig) -> Result<Self, ConfigError> {
        RetryBuilder::new(config).build()
    }
}

/// Builds a [`RetryLayer`]: see [`RetryLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct RetryBuilder<P = Http> {
    config: RetryConfig,
    protocol: P,
    error_text: ErrorText,
    /// Limits that must fit into the total.
    keep_within: Option<KeepReplaced>,
    /// A knob that is checked where it is turned.
    refused: Option<ConfigError>,
}

impl RetryBuilder {
    pub(crate) fn new(config: RetryConfig) -> Self {
        let max_body = config.max_body;
        Self { config, protocol: Http::default(), error_text: ErrorText::default(), keep_within: None, refused: None }
            .max_body(max_body)
    }
}

impl<P> RetryBuilder<P> {
    /// How often a request is sent at most, the first time included: 1 to 1000, 3 unless set.
    ///
    /// With 1 the layer does nothing: requests pass straight through.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// The longest wait before the second attempt: 100 ms unless set, more than 0 s, up to the
    /// [cap](Self::backoff_cap).
    ///
    /// It doubles with each further attempt. How long is really waited is random, anything from nothing to that: full
    /// jitter, unless another [backoff](Self::backoff) is set, which makes something else of it.
    pub fn backoff_base(mut self, base: Duration) -> Self {
        self.config.backoff_base = Some(base);
        self
    }

    /// What the doubling of the [base](Self::backoff_base) stops at: 10 s unless set, up to the [total](Self::total).
    ///
    /// The total unless set, where the backoff is constant.
    pub fn backoff_cap(mut self, cap: Duration) -> Self {
        self.config.backoff_cap = Some(cap);
        self
    }

    /// How the waits are worked out from base and cap: [`Backoff::FullJitter`] unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Waits as long as a closure says, which gets the number of attempts made and what the last one counts as. See
    /// [`BackoffFn`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_retry::RetryLayer;
    ///
    /// // At once where nothing has happened yet, such as a connection that was refused.
    /// let retry = RetryLayer::builder("ml_service")
    ///     .backoff_fn(|attempts, outcome| Duration::from_millis(if outcome.unprocessed { 0 } else { 50 }) * attempts)
    ///     .build()?;
    /// # let _ = retry;
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn backoff_fn(self, wait: impl Fn(u32, &Outcome) -> Duration + Send + Sync + 'static) -> Self {
        self.backoff(Backoff::Custom(BackoffFn::new(wait)))
    }

    /// The time that all attempts and waits may take together: 60 s unless set, more than 0 s, up to 24 h.
    ///
    /// It does not end a first attempt that hangs: this layer has no answer to give instead. Put a `TimeoutLayer` inside it, as
    /// `backstop::standard` does. A first attempt that outlasts the total is an event when it fails or is dropped.
    ///
    /// Where the deadline of the [scope](backstop_core::scope) is earlier, that binds. See [Time](crate#time).
    pub fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self
    }

    /// The longest delay that a server may ask for: 10 s unless set, up to the [total](Self::total).
    ///
    /// A server that asks for more is obeyed: its answer is returned at once.
    pub fn max_retry_after(mut self, delay: Duration) -> Self {
        self.config.max_retry_after = Some(delay);
        self
    }

    /// Repeats requests with an `Idempotency-Key` whatever their method.
    ///
    /// For servers that honour that field
    /// ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)):
    /// to any other it means nothing, and a request that was processed is processed again.
    pub fn trust_idempotency_key(mut self) -> Self {
        self.config.trust_idempotency_key = true;
        self
    }

    /// Counts the attempts of HTTP requests in `name`, so that no two tiers repeat the same request. None unless set.
    ///
    /// A request that is sent again tells in it how many attempts were made before: 1 in the second, 2 in the third. The first
    /// is left as it came. A request that comes with it, and with anything but `0`, is somebody's retry already, and isn't
    /// sent again. So set the same name in all tiers, and let the edge remove it from
    /// what strangers send, who could otherwise turn the retries of their own requests off.
    ///
    /// It counts from another end than Envoy's `x-envoy-attempt-count`, which is 1 in the first attempt. gRPC has a header of
    /// its own for the first half, `grpc-previous-rpc-attempts`, which is always sent.
    pub fn attempt_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_header = Some(name);
        self
    }

    /// Pays the retries from `budget`, which other layers may share: see [`RetryBudget`]. Unless set, the layer has one of
    /// its own, with the [defaults](RetryBudget::default).
    ///
    /// ```
    /// use backstop_retry::{RetryBudget, RetryLayer};
    ///
    /// let budget = RetryBudget::builder().ratio(0.1).reserve_per_second(5).build()?;
    /// let reads = RetryLayer::builder("reads").budget(budget.clone()).build()?;
    /// let writes = RetryLayer::builder("writes").budget(budget).build()?;
    /// # let _ = (reads, writes);
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn budget(mut self, budget: RetryBudget) -> Self {
        self.config.budget = Budget::Shared(budget);
        self
    }

    /// Doesn't count the retries of all requests together.
    ///
    /// While everything fails, the load on the dependency is then multiplied by [`max_attempts`](Self::max_attempts). For
    /// dependencies that this can't harm.
    pub fn no_budget(mut self) -> Self {
        self.config.budget = Budget::Unlimited;
        self
    }

    /// Starts the jitter at `seed`, for tests that want the same waits each time. Random unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Repeats what `rule` says may be repeated, instead of the layer's own rule.
    ///
    /// It is asked after an attempt whose result [may do better in a moment](Outcome::transient), and gets what is known of
    /// the request and what the attempt counts as. The layer's own rule, without
    /// [`trust_idempotency_key`](Self::trust_idempotency_key), is
    /// `|request, outcome| request.is_idempotent() || outcome.unprocessed`. [`Repeat::Never`](backstop_kit::Repeat::Never)
    /// and upgrades stay as they are.
    ///
    /// The request itself is gone by then. What depends on its path, its headers or its body is for
    /// [`repeat_if`](Self::repeat_if), which sees it whole before it is sent: what that says yes to, and what has
    /// [`Repeat::Safe`](backstop_kit::Repeat::Safe), `is_idempotent` here.
    ///
    /// ```
    /// use backstop_retry::RetryLayer;
    ///
    /// // Keys are honoured by this server, but only while it says when to come again.
    /// let orders = RetryLayer::builder("orders")
    ///     .repeat_when(|request, outcome| {
    ///         outcome.unprocessed || (request.has_idempotency_key() && outcome.pushback.is_some())
    ///     })
    ///     .build()?;
    /// # let _ = orders;
    ///
    /// // Searches too, but none of them in an outage.
    /// use axum::{body::Body, http::Request};
    /// use backstop_core::Verdict;
    ///
    /// let searches = RetryLayer::builder("search")
    ///     .repeat_if(|request: &Request<Body>| request.uri().path() == "/search")
    ///     .repeat_when(|request, outcome| request.is_idempotent() && outcome.verdict == Verdict::Neutral)
    ///     .build()?;
    /// # let _ = searches;
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn repeat_when(mut self, rule: impl Fn(RequestFacts, &Outcome) -> bool + Send + Sync + 'static) -> Self {
        self.config.repeat_when = Some(RepeatWhen::new(rule));
        self
    }

    /// Logs of an error what `text` says: in the field `error` of events, cut and escaped as
    /// [`ErrorText`] has it. `None` logs nothing. Unless set, the text of the error and its causes.
    pub fn error_text(mut self, text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.error_text = ErrorText::new(text);
        self
    }

    /// For functions and other services that don't speak HTTP: see [`Plain`]. Call it first, since it replaces every
    /// strategy.
    pub fn plain(self) -> RetryBuilder<Plain> {
        RetryBuilder { keep_within: None, ..self.map(|_| Plain::default()) }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<RetryLayer<P>, ConfigError> {
        let Self { config, protocol, error_text, keep_within, refused } = self;
        if let Some(error) = refused {
            return Err(error);
        }
        keep_within.map_or(Ok(()), |keep| keep.check_within(config.total))?;
        let (seed, budget) = (config.seed, config.budget.clone());
        Ok(RetryLayer::with(Policy::new(Settings::check(config)?, budget, seed, protocol, error_text)))
    }

    fn map<P2>(self, f: impl FnOnce(P) -> P2) -> RetryBuilder<P2> {
        let Self { config, protocol, error_text, keep_within, refused } = self;
        RetryBuilder { config, protocol: f(protocol), error_text, keep_within, refused }
    }

    fn set_max_body(&mut self, bytes: usize) -> HttpCopy {
        self.config.max_body = bytes;
        // The last word counts, as it does for every other knob.
        let copy = HttpCopy::default().max_body(bytes);
        // Of this knob, and not of another one whose error is kept here.
        if self.refused.as_ref().is_none_or(|error| error.field == "max_body") {
            self.refused = copy.as_ref().err().cloned();
        }
        copy.unwrap_or_default()
    }
}

impl<J, R, K, A> RetryBuilder<Strategies<J, R, K, A>> {
    /// Treats requests that match `predicate` as idempotent, whatever their method.
    ///
    /// It only adds: those that may be repeated anyway still are. It is asked before the request is sent, and only of
    /// requests that nothing else has decided: neither their method nor a [`Repeat`](backstop_kit::Repeat).
    ///
    /// ```
    /// use backstop_retry::RetryLayer;
    /// use axum::{body::Body, http::Request};
    ///
    /// // A search is a POST because it is long, not because it changes anything.
    /// let retry = RetryLayer::builder("search")
    ///     .repeat_if(|request: &Request<Body>| request.uri().path() == "/search")
    ///     .build()?;
    /// # let _ = retry;
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn repeat_if<Req, F>(self, predicate: F) -> RetryBuilder<Strategies<J, R, RepeatIf<K, F>, A>>
    where
        F: Fn(&Req) -> bool,
    {
        self.map_copy(|copy| RepeatIf::new(copy, predicate))
    }

    /// Judges results with `classify`.
    pub fn classify<C>(self, classify: C) -> RetryBuilder<Judging<J, C, R, K, A>>
    where
        J: WithClassifier,
    {
        self.map(|protocol| protocol.with_judge(J::with_classifier(classify)))
    }

    /// Judges results with a closure. What it calls transient is worth repeating.
    ///
    /// Have it ask [`HttpClassify`] first and change what that says, as the [crate docs](crate#what-is-repeated) show: the
    /// server's `Retry-After`, and whether another attempt may help, are in its outcome. What layers of
    /// ours refuse (circuit open, bulkhead full, all providers failed) isn't repeated, whatever a closure says of its
    /// status.
    pub fn classify_fn<Res, F>(self, judge: F) -> RetryBuilder<Judging<J, ClassifyFn<F>, R, K, A>>
    where
        J: WithClassifier,
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Copies requests by `copy`, a strategy of your own, instead of [`HttpCopy`].
    pub fn copy_requests<K2>(self, copy: K2) -> RetryBuilder<Strategies<J, R, K2, A>> {
        self.map_copy(|_| copy)
    }

    /// Clones requests, of whatever type. See [`CloneCopy`] for what that promises.
    pub fn clone_requests(self) -> RetryBuilder<Strategies<J, R, CloneCopy, A>> {
        self.copy_requests(CloneCopy)
    }

    /// Keeps answers that may be replaced within other limits than the default [`KeepReplaced`]'s.
    pub fn keep_replaced(self, keep: KeepReplaced) -> RetryBuilder<Strategies<J, R, K, KeepReplaced>> {
        RetryBuilder { keep_within: Some(keep), ..self.keep_replaced_by(keep) }
    }

    /// Keeps answers that may be replaced by `keep`, a strategy of your own.
    pub fn keep_replaced_by<A2>(self, keep: A2) -> RetryBuilder<Strategies<J, R, K, A2>> {
        RetryBuilder { keep_within: None, ..self.map(|protocol| protocol.with_keep(keep)) }
    }

    /// Drops an answer that may be replaced, instead of keeping it as the answer of last resort: for answers that can't
    /// be kept, such as `Response<Incoming>`.
    pub fn discard_replaced(self) -> RetryBuilder<Strategies<J, R, K, DiscardReplaced>> {
        self.keep_replaced_by(DiscardReplaced)
    }

    fn map_copy<K2>(self, f: impl FnOnce(K) -> K2) -> RetryBuilder<Strategies<J, R, K2, A>> {
        self.map(|Strategies { judge, reject, copy, keep }| Strategies { judge, reject, copy: f(copy), keep })
    }
}

impl<R, K, A> RetryBuilder<Strategies<HttpJudge<HttpClassify>, R, K, A>> {
    /// Takes `status` for worth repeating, beside 408, 425, 429, 502, 503 and 504:
    /// [`HttpClassify::transient`], which a classifier given by [`classify`](Self::classify) has too.
    pub fn retry_on(mut self, status: StatusCode) -> Self {
        self.protocol.judge.classify = self.protocol.judge.classify.transient(status);
        self
    }
}

impl<J, R, A> RetryBuilder<Strategies<J, R, HttpCopy, A>> {
    /// The longest request body that is kept for another attempt, in bytes: 64 KiB unless set, up to 1 GiB.
    ///
    /// A longer one is sent as it comes, once. With 0, only requests without a body are repeated.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.protocol.copy = self.set_max_body(bytes);
        self
    }
}

impl<J, R, F, A> RetryBuilder<Strategies<J, R, RepeatIf<HttpCopy, F>, A>> {
    /// The longest request body that is kept for another attempt, in bytes: 64 KiB unless set, up to 1 GiB.
    ///
    /// A longer one is sent as it comes, once. With 0, only requests without a body are repeated.
    pub fn max_body(mut self, bytes: usize) -> Self {
        let copy = self.set_max_body(bytes);
        self.map_copy(|repeat_if| repeat_if.map(|_| copy))
    }
}

impl<P> fmt::Debug for RetryBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
