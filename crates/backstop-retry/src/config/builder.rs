//! The builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ClassifyFn, ConfigError, ErrorRef, HttpClassify, Name, Outcome};
use backstop_kit::{
    CloneCopy, DiscardReplaced, ErrorText, Http, HttpCopy, HttpJudge, KeepReplaced, Plain, RepeatIf, RequestFacts,
    Strategies, WithClassifier,
};
use http::{HeaderName, StatusCode};

use crate::{
    Backoff, BackoffFn, Budget, RetryBudget, RetryConfig, RetryLayer, config::Settings, layer_state::LayerState,
    reloadable_settings::ReloadableSettings,
};

/// A builder with these strategies.
type BuilderOf<J, R, U, K, A> = RetryBuilder<Strategies<J, R, U, K, A>>;

impl RetryLayer {
    /// At most 3 attempts within 60 s, with waits of up to 100 ms and 200 ms, and a [budget](RetryBudget) of its own.
    pub fn new(name: Name) -> Self {
        Self::with(LayerState::new(ReloadableSettings::new(name), None, Http::default(), ErrorText::default()))
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
    /// Checked against the total by `build`.
    keep_within: Option<KeepReplaced>,
}

impl RetryBuilder {
    pub(crate) fn new(config: RetryConfig) -> Self {
        let max_body = config.max_body;
        Self { config, protocol: Http::default(), error_text: ErrorText::default(), keep_within: None }
            .max_body(max_body)
    }

    /// For functions and other services that don't speak HTTP: see [`Plain`].
    ///
    /// It replaces all other strategies, so it can only be called before they are chosen.
    pub fn plain(self) -> RetryBuilder<Plain> {
        RetryBuilder { keep_within: None, ..self.map(|_| Plain::default()) }
    }
}

impl<P> RetryBuilder<P> {
    /// The most attempts of one request, the first included: 1 to 1000, 3 unless set.
    ///
    /// With 1 the layer does nothing: requests pass straight through.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.config.max_attempts = attempts;
        self
    }

    /// The longest wait before the second attempt: 100 ms unless set, more than 0 s, up to the [cap](Self::backoff_cap).
    ///
    /// It doubles with each further attempt. The actual wait is random, from 0 to that: full jitter. Another
    /// [backoff](Self::backoff) uses the base differently.
    pub fn backoff_base(mut self, base: Duration) -> Self {
        self.config.backoff_base = Some(base);
        self
    }

    /// Where the doubling of the [base](Self::backoff_base) stops: 10 s unless set, up to the [total](Self::total).
    ///
    /// With a constant backoff: the total unless set.
    pub fn backoff_cap(mut self, cap: Duration) -> Self {
        self.config.backoff_cap = Some(cap);
        self
    }

    /// How the wait before an attempt is computed from base and cap: [`Backoff::FullJitter`] unless set.
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// Waits as long as `wait` returns. It gets the number of attempts made and the outcome of the last one: see [`BackoffFn`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_retry::RetryLayer;
    ///
    /// // At once if nothing was processed, as after a refused connection.
    /// let retry = RetryLayer::builder("ml_service")
    ///     .backoff_fn(|attempts, outcome| Duration::from_millis(if outcome.unprocessed { 0 } else { 50 }) * attempts)
    ///     .build()?;
    /// # let _ = retry;
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn backoff_fn(self, wait: impl Fn(u32, &Outcome) -> Duration + Send + Sync + 'static) -> Self {
        self.backoff(Backoff::Custom(BackoffFn::new(wait)))
    }

    /// The limit of all attempts and waits together: 60 s unless set, more than 0 s, up to 24 h.
    ///
    /// It does not end a first attempt that hangs, because this layer has no answer to return instead. Add a `TimeoutLayer`
    /// inside, as `backstop::standard` does. A first attempt that outlasts the total is an event when it fails or is dropped.
    ///
    /// An earlier deadline of the [scope](backstop_core::scope) replaces it. See [Time](crate#time).
    pub fn total(mut self, total: Duration) -> Self {
        self.config.total = total;
        self
    }

    /// The longest delay that a server may ask for: 10 s unless set, up to the [total](Self::total).
    ///
    /// If a server asks for more (`Retry-After`, `grpc-retry-pushback-ms`), its answer is returned at once.
    pub fn max_retry_after(mut self, delay: Duration) -> Self {
        self.config.max_retry_after = Some(delay);
        self
    }

    /// Treats requests with an `Idempotency-Key` as safe to repeat. See [`repeating`](backstop_kit::repeating).
    ///
    /// Only for servers that honour that field
    /// ([draft-ietf-httpapi-idempotency-key-header](https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/)).
    /// Others ignore it, and process the request twice.
    pub fn trust_idempotency_key(mut self) -> Self {
        self.config.repeat = self.config.repeat.trust_idempotency_key();
        self
    }

    /// Counts attempts in the request header `name`, so that no two tiers repeat the same request. None unless set.
    ///
    /// A request that is sent again says how many attempts were made before it: 1 in the second attempt, 2 in the third. The
    /// first attempt is sent as it came. A request that arrives with another value than `0` is a retry of an outer tier, and
    /// isn't repeated. Set the same name in all tiers, and remove the header from outside requests at the edge: otherwise
    /// anyone can turn off the retries of their own requests.
    ///
    /// Envoy's `x-envoy-attempt-count` counts differently: it is 1 in the first attempt. In gRPC,
    /// `grpc-previous-rpc-attempts` is always sent as well.
    pub fn attempt_header(mut self, name: HeaderName) -> Self {
        self.config.attempt_header = Some(name);
        self
    }

    /// Pays retries from `budget`, which other layers may share: see [`RetryBudget`]. Unless set, the layer has a budget of its
    /// own with the [defaults](RetryBudget::default).
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

    /// Doesn't bound the retries of all requests together.
    ///
    /// While everything fails, this multiplies the load on the dependency by [`max_attempts`](Self::max_attempts). For
    /// dependencies that can bear it.
    pub fn no_budget(mut self) -> Self {
        self.config.budget = Budget::Unlimited;
        self
    }

    /// Seeds the jitter, for tests that need the same waits each time. Random unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// Decides by `rule` whether a request may be repeated after an attempt. See [`repeating`](backstop_kit::repeating).
    ///
    /// It is asked if the result is worth [another attempt](Outcome::transient), and replaces the default rule, which is
    /// `|request, outcome| request.is_idempotent() || outcome.unprocessed`, and [`trust_idempotency_key`](Self::trust_idempotency_key).
    /// Requests with [`Repeat::Never`](backstop_kit::Repeat::Never) and upgrades are still never repeated. The predicate of
    /// [`repeat_if`](Self::repeat_if) and [`Repeat::Safe`](backstop_kit::Repeat::Safe) make a request `is_idempotent`.
    ///
    /// ```
    /// use axum::{body::Body, http::Request};
    /// use backstop_core::Verdict;
    /// use backstop_retry::RetryLayer;
    ///
    /// // This server honours keys, but only while it says when to come again.
    /// let orders = RetryLayer::builder("orders")
    ///     .repeat_when(|request, outcome| {
    ///         outcome.unprocessed || (request.has_idempotency_key() && outcome.pushback.is_some())
    ///     })
    ///     .build()?;
    ///
    /// // Searches, too, but none of them in an outage.
    /// let searches = RetryLayer::builder("search")
    ///     .repeat_if(|request: &Request<Body>| request.uri().path() == "/search")
    ///     .repeat_when(|request, outcome| request.is_idempotent() && outcome.verdict == Verdict::Neutral)
    ///     .build()?;
    /// # let _ = (orders, searches);
    /// # Ok::<(), backstop_retry::ConfigError>(())
    /// ```
    pub fn repeat_when(mut self, rule: impl Fn(RequestFacts, &Outcome) -> bool + Send + Sync + 'static) -> Self {
        self.config.repeat = self.config.repeat.repeat_when(rule);
        self
    }

    /// Logs the text that `text` returns, in the field `error` of events, cut and escaped as by [`ErrorText`]. `None` logs
    /// nothing. Unless set, the text of the error and its causes.
    pub fn error_text(mut self, text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.error_text = ErrorText::new(text);
        self
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<RetryLayer<P>, ConfigError> {
        let Self { config, protocol, error_text, keep_within } = self;
        let (name, settings) = Settings::check(config.clone(), keep_within)?;
        let live = ReloadableSettings::with(name, settings, &config, keep_within);
        Ok(RetryLayer::with(LayerState::new(live, config.seed, protocol, error_text)))
    }

    /// The settings so far.
    pub const fn config(&self) -> &RetryConfig {
        &self.config
    }

    fn map<P2>(self, f: impl FnOnce(P) -> P2) -> RetryBuilder<P2> {
        let Self { config, protocol, error_text, keep_within } = self;
        RetryBuilder { config, protocol: f(protocol), error_text, keep_within }
    }
}

impl<J, R, U, K, A> BuilderOf<J, R, U, K, A> {
    /// Treats requests matching `predicate` as idempotent, whatever their method. See [`repeating`](backstop_kit::repeating).
    ///
    /// It is asked before the request is sent, unless the method or a [`Repeat`](backstop_kit::Repeat) has already decided.
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
    pub fn repeat_if<Req, F>(self, predicate: F) -> BuilderOf<J, R, U, RepeatIf<K, F>, A>
    where
        F: Fn(&Req) -> bool,
    {
        self.map_copy(|copy| RepeatIf::safe_if(copy, predicate))
    }

    /// Never repeats requests that don't match `predicate`, as if they had [`Repeat::Never`](backstop_kit::Repeat::Never). See
    /// [`repeating`](backstop_kit::repeating).
    pub fn repeat_only_if<Req, F>(self, predicate: F) -> BuilderOf<J, R, U, RepeatIf<K, F>, A>
    where
        F: Fn(&Req) -> bool,
    {
        self.map_copy(|copy| RepeatIf::only_if(copy, predicate))
    }

    /// Judges results with `classify`.
    pub fn classify<C>(self, classify: C) -> BuilderOf<J::With<C>, R, U, K, A>
    where
        J: WithClassifier,
    {
        self.map(|protocol| protocol.with_judge(J::with_classifier(classify)))
    }

    /// Judges results with a closure. Those that it calls transient are worth repeating.
    ///
    /// Let it ask [`HttpClassify`] first and change the outcome, as the [crate docs](crate#what-is-repeated) show: the outcome
    /// also holds the server's `Retry-After`. Refusals of other layers (circuit open, bulkhead full, all providers failed)
    /// aren't repeated, whatever the closure says.
    pub fn classify_fn<Res, F>(self, judge: F) -> BuilderOf<J::With<ClassifyFn<F>>, R, U, K, A>
    where
        J: WithClassifier,
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Keeps answers that may be replaced, with other limits than the default [`KeepReplaced`] has.
    pub fn keep_replaced(self, keep: KeepReplaced) -> BuilderOf<J, R, U, K, KeepReplaced> {
        RetryBuilder { keep_within: Some(keep), ..self.keep_replaced_by(keep) }
    }

    /// Keeps answers that may be replaced with `keep`, a strategy of your own.
    pub fn keep_replaced_by<A2>(self, keep: A2) -> BuilderOf<J, R, U, K, A2> {
        RetryBuilder { keep_within: None, ..self.map(|protocol| protocol.with_keep(keep)) }
    }

    /// Drops answers that may be replaced. For types that can't be kept, such as `Response<Incoming>`.
    pub fn discard_replaced(self) -> BuilderOf<J, R, U, K, DiscardReplaced> {
        self.keep_replaced_by(DiscardReplaced)
    }

    fn map_copy<K2>(self, f: impl FnOnce(K) -> K2) -> BuilderOf<J, R, U, K2, A> {
        self.map(|Strategies { judge, reject, copy, keep, until }| Strategies {
            judge,
            reject,
            copy: f(copy),
            keep,
            until,
        })
    }
}

impl<J, R, A, U> BuilderOf<J, R, U, HttpCopy, A> {
    /// Copies requests with `copy`, a strategy of your own, instead of [`HttpCopy`].
    ///
    /// Call it before [`repeat_if`](Self::repeat_if) and [`repeat_only_if`](Self::repeat_only_if), which then hold for `copy`.
    /// Afterwards the builder hasn't got it:
    ///
    /// ```compile_fail,E0599
    /// use backstop_retry::RetryLayer;
    ///
    /// RetryLayer::builder("payments").repeat_only_if(|_: &http::Request<()>| false).clone_requests();
    /// ```
    pub fn copy_requests<K2>(self, copy: K2) -> BuilderOf<J, R, U, K2, A> {
        self.map_copy(|_| copy)
    }

    /// Clones requests of any type. See [`CloneCopy`] for what you promise by that.
    pub fn clone_requests(self) -> BuilderOf<J, R, U, CloneCopy, A> {
        self.copy_requests(CloneCopy)
    }
}

impl<R, U, K, A> BuilderOf<HttpJudge<HttpClassify>, R, U, K, A> {
    /// Also repeats requests answered with `status`, in addition to 408, 425, 429, 502, 503 and 504. Like
    /// [`HttpClassify::transient`] on your own classifier.
    pub fn retry_on(mut self, status: StatusCode) -> Self {
        self.protocol.judge.classify = self.protocol.judge.classify.transient(status);
        self
    }
}

impl<J, R, U, K: AsMut<HttpCopy>, A> BuilderOf<J, R, U, K, A> {
    /// The longest request body that is kept for another attempt, in bytes: 64 KiB unless set, up to 1 GiB.
    ///
    /// A request with a longer body is sent once. With 0, only requests without a body are repeated.
    pub fn max_body(mut self, bytes: usize) -> Self {
        self.config.max_body = bytes;
        // An error is returned by `build`, which checks again.
        *self.protocol.copy.as_mut() = HttpCopy::default().max_body(bytes).unwrap_or_default();
        self
    }
}

impl<P> fmt::Debug for RetryBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RetryBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
