//! The chain's builder.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, OnceLock},
    time::Duration,
};

use backstop_core::{Classify, ClassifyFn, ConfigError, ErrorRef, Name, Outcome, ResultClassify};
use backstop_kit::{ErrorText, Keep, PlainJudge, RepeatIf, RepeatRule, RequestFacts, WrapBody};

use crate::{
    Commit, FallbackChain, FallbackConfig, ProvenBy, Provider, commit::WaitForBody, control::Control, panics::Panics,
};

use super::{
    settings::{ReloadableSettings, Settings, check_name},
    shared::{Chain, HandlerJudge, Mark},
};

const DEFAULT_TOTAL: Duration = Duration::from_secs(5);

impl<Req, T: 'static> FallbackChain<Req, T> {
    /// Builds a chain. It needs at least one [provider](FallbackChainBuilder::provider).
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FallbackChainBuilder<Req, T> {
        FallbackChainBuilder::new(name.into())
    }
}

/// Builds a [`FallbackChain`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct FallbackChainBuilder<Req, T> {
    name: Cow<'static, str>,
    total: Duration,
    config: Option<FallbackConfig>,
    providers: Vec<Provider<Req, T>>,
    judge: HandlerJudge<T>,
    repeat: RepeatRule,
    marks: Vec<Mark<Req>>,
    commit: Commit,
    wait_for_body: Option<WaitForBody<T>>,
    seed: Option<u64>,
    error_text: ErrorText,
    panics: Panics,
}

impl<Req, T: 'static> FallbackChainBuilder<Req, T> {
    pub(crate) fn new(name: Cow<'static, str>) -> Self {
        Self {
            name,
            total: DEFAULT_TOTAL,
            config: None,
            providers: Vec::new(),
            judge: PlainJudge { classify: Box::new(ResultClassify::new()) },
            repeat: RepeatRule::new(),
            marks: Vec::new(),
            commit: Commit::Headers,
            wait_for_body: None,
            seed: None,
            error_text: ErrorText::default(),
            panics: Panics::Propagate,
        }
    }
}

impl<Req, T> FallbackChainBuilder<Req, T> {
    /// The time of all providers together, a wrapped service included: 5 s unless set, more than 0 s, up to 24 h.
    ///
    /// An earlier deadline of the [scope](backstop_core::scope) replaces it.
    pub fn total(mut self, total: Duration) -> Self {
        self.total = total;
        self
    }

    /// Takes times and limits from `config`, which the chain's [handle](crate::FallbackHandle::reload) can reload. What
    /// `config` leaves out stays as it is set here and by [`Provider::timeout`] and [`Provider::concurrency`].
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop_fallback::{FallbackChain, FallbackConfig, Provider, name};
    ///
    /// // Often from a file.
    /// let mut config = FallbackConfig::new("prices");
    /// config.total = Some(Duration::from_millis(300));
    ///
    /// let prices: FallbackChain<u32, &str> = FallbackChain::builder("prices")
    ///     .provider(Provider::from_fn(name!("live"), |_item| async { "9.99" }))
    ///     .provider(Provider::value(name!("list"), || async { "9.50" }))
    ///     .with_config(config)
    ///     .build()?;
    /// assert_eq!(prices.handle().total(), Duration::from_millis(300));
    /// # Ok::<(), backstop_fallback::ConfigError>(())
    /// ```
    pub fn with_config(mut self, config: FallbackConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Adds the next provider in the order of preference.
    pub fn provider(mut self, provider: Provider<Req, T>) -> Self {
        self.providers.push(provider);
        self
    }

    /// Judges which results are answers in [`execute`](FallbackChain::execute). Unless set, [`ResultClassify`] does: every `Ok`
    /// is one.
    ///
    /// A closure can also say that a failed provider [processed nothing](Outcome::unprocessed), which matters if
    /// [`repeat_only_if`](Self::repeat_only_if) is set; that the provider asked to be [called later](Outcome::pushback); and that
    /// the [request is to blame](Outcome::callers_fault) for the first provider's error. Then that error is the answer, and no
    /// other provider is asked. A missing row is no reason to show popular items:
    ///
    /// ```
    /// use backstop_core::{Classify, ErrorRef, Outcome, ResultClassify};
    /// use backstop_fallback::{FallbackChain, Provider, name};
    /// # #[derive(Debug, PartialEq)] enum SqlError { RowNotFound, PoolTimedOut }
    /// # impl std::fmt::Display for SqlError { fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result { write!(f, "{self:?}") } }
    /// # impl std::error::Error for SqlError {}
    /// # async fn fetch_one(id: u32) -> Result<&'static str, SqlError> { if id == 0 { Err(SqlError::RowNotFound) } else { Err(SqlError::PoolTimedOut) } }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let usual = ResultClassify::new();
    /// let items = FallbackChain::builder("items")
    ///     .provider(Provider::from_fn(name!("database"), fetch_one))
    ///     .provider(Provider::value(name!("popular"), || async { "a popular one" }))
    ///     .classify_fn(move |result: Result<&&str, ErrorRef<'_>>| match result {
    ///         Err(error) if error.find() == Some(&SqlError::RowNotFound) => Outcome::callers_fault(),
    ///         other => usual.classify(other),
    ///     })
    ///     .build()?;
    ///
    /// // The handler's 404.
    /// let not_found = items.execute(0).await.unwrap_err();
    /// assert!(not_found.is_callers_fault());
    /// assert_eq!(items.execute(7).await?.value, "a popular one");
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Better still, don't turn an answer into an error: sqlx's `fetch_optional(…)` returns an `Option`, and so does a client that
    /// maps a 404 to `Ok(None)`. The chain is then one of `Option<T>`.
    ///
    /// A [`FallbackLayer`](crate::FallbackLayer) judges by its own classifier.
    pub fn classify_fn<F>(self, judge: F) -> Self
    where
        F: Fn(Result<&T, ErrorRef<'_>>) -> Outcome + Send + Sync + 'static,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Judges results with `classify`. Unlike a closure, a classifier of your own also names the reason of a failure.
    pub fn classify<C>(mut self, classify: C) -> Self
    where
        C: Classify<T> + Send + Sync + 'static,
    {
        self.judge.classify = Box::new(classify);
        self
    }

    /// Treats requests matching `predicate` as idempotent, whatever their method. See
    /// [`repeating`](backstop_kit::repeating).
    ///
    /// In a handler all requests are, unless [`repeat_only_if`](Self::repeat_only_if) is set.
    pub fn repeat_if(mut self, predicate: impl Fn(&Req) -> bool + Send + Sync + 'static) -> Self {
        self.marks.push(RepeatIf::safe_if((), Box::new(predicate)));
        self
    }

    /// Never repeats requests that don't match `predicate`, as if they had [`Repeat::Never`](backstop_kit::Repeat::Never). See
    /// [`repeating`](backstop_kit::repeating).
    ///
    /// Once such a request may have been processed, it is given only to providers marked
    /// [`even_if_processed`](Provider::even_if_processed). It is never [forced](crate::FallbackHandle::force).
    ///
    /// Set it in handlers whose requests change something. **A handler's chain treats every request as safe to repeat unless
    /// this says otherwise**, even an `http::Request` with the method `POST`: the chain doesn't know what its providers do.
    /// Behind a [`FallbackLayer`](crate::FallbackLayer) it narrows what the layer finds out itself.
    ///
    /// ```
    /// use backstop_fallback::{FallbackChain, Provider, RequestFacts, name};
    /// # async fn charge(_: u32) -> Result<&'static str, std::io::Error> { Ok("charged") }
    ///
    /// // No payment is safe to repeat.
    /// let payments: FallbackChain<u32, &str> = FallbackChain::builder("payments")
    ///     .provider(Provider::from_fn(name!("acquirer"), charge))
    ///     .repeat_only_if(|_| false)
    ///     .build()?;
    ///
    /// # async fn fetch(_: http::Request<()>) -> Result<&'static str, std::io::Error> { Ok("fetched") }
    /// // As behind a layer: by the method, and by the request's `Repeat`.
    /// let proxied: FallbackChain<http::Request<()>, &str> = FallbackChain::builder("proxied")
    ///     .provider(Provider::from_fn(name!("upstream"), fetch))
    ///     .repeat_only_if(|request| RequestFacts::of(request).may_be_repeated())
    ///     .build()?;
    /// # Ok::<(), backstop_fallback::ConfigError>(())
    /// ```
    pub fn repeat_only_if(mut self, predicate: impl Fn(&Req) -> bool + Send + Sync + 'static) -> Self {
        self.marks.push(RepeatIf::only_if((), Box::new(predicate)));
        self
    }

    /// Decides by `rule` whether the next provider may be asked after one that failed. See
    /// [`repeating`](backstop_kit::repeating).
    ///
    /// It replaces the default rule, which is `|request, outcome| request.is_idempotent() || outcome.unprocessed`, and
    /// [`trust_idempotency_key`](Self::trust_idempotency_key). A request goes to the next provider if the rule allowed it
    /// after every one before. It is [forced](crate::FallbackHandle::force) only if the rule allows it after an
    /// [`Outcome::failure`].
    pub fn repeat_when(mut self, rule: impl Fn(RequestFacts, &Outcome) -> bool + Send + Sync + 'static) -> Self {
        self.repeat = self.repeat.repeat_when(rule);
        self
    }

    /// Treats requests with an `Idempotency-Key` as safe to repeat. See [`repeating`](backstop_kit::repeating).
    ///
    /// Only if all providers honour that field and share their keys: otherwise another provider processes the request again.
    pub fn trust_idempotency_key(mut self) -> Self {
        self.repeat = self.repeat.trust_idempotency_key();
        self
    }

    /// Seeds the choice of [forced](crate::FallbackHandle::force) requests, for tests that need the same ones each time. Random
    /// unless set.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Treats a panic of a provider, or of the primary behind a layer, as one more failure, with the reason `panic`, and asks
    /// the next provider. Unless set, it propagates.
    ///
    /// Behind a layer it costs each request a clone of the primary and one allocation.
    ///
    /// The call that panicked is dropped, and counts as possibly processed. A circuit breaker further in has seen the panic as
    /// a failure. Where panics abort the process, none can be caught.
    ///
    /// ```
    /// use backstop_fallback::{FallbackChain, Provider, name};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prices: FallbackChain<usize, &str> = FallbackChain::builder("prices")
    ///     .provider(Provider::from_fn(name!("table"), |i| async move { Ok::<_, std::io::Error>(["9.99", "7.50"][i]) }))
    ///     .provider(Provider::value(name!("list"), || async { "12.00" }))
    ///     .catch_panics()
    ///     .build()?;
    ///
    /// let answer = prices.execute(2).await?;
    /// assert_eq!((answer.value, answer.failures[0].reason.as_str()), ("12.00", "panic"));
    /// # Ok(())
    /// # }
    /// ```
    pub fn catch_panics(mut self) -> Self {
        self.panics = Panics::Catch;
        self
    }

    /// What logs and [`ProviderFailure::error`](crate::ProviderFailure) show of an error. Unless set, its text and that of its
    /// causes, cut to 256 bytes, with control characters escaped and without user information, query and fragment of URLs.
    ///
    /// `None` shows nothing. The closure's text is cut and escaped, too.
    pub fn error_text(mut self, text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.error_text = ErrorText::new(text);
        self
    }

    /// The chain.
    ///
    /// # Errors
    /// [`ConfigError`] names the knob whose value isn't allowed, or contradicts another one.
    pub fn build(self) -> Result<FallbackChain<Req, T>, ConfigError> {
        let Self {
            name,
            total,
            config,
            providers,
            judge,
            repeat,
            marks,
            commit,
            wait_for_body,
            seed,
            error_text,
            panics,
        } = self;
        let name = Name::new(name)?;
        commit.check()?;
        if providers.is_empty() {
            return Err(ConfigError::new("providers", "none", "at least one"));
        }
        for (i, provider) in providers.iter().enumerate() {
            if providers[..i].iter().any(|earlier| earlier.name() == provider.name()) {
                return Err(ConfigError::new("provider", provider.name().clone(), "a name of its own in the chain"));
            }
        }
        if let Some(last) = providers.last().filter(|last| last.may_not_be_last()) {
            let allowed = "not on the last provider, unless it is `even_if_last`";
            return Err(ConfigError::new("only_if", last.name().clone(), allowed));
        }
        let needs = providers.iter().map(Provider::needs).max().unwrap_or(Keep::Nothing);
        let names: Vec<_> = providers.iter().map(Provider::name).cloned().collect();
        let settings = Settings::new(total, providers.iter().map(Provider::config).cloned().collect());
        if let Some(config) = &config {
            check_name(config, &name)?;
        }
        let settings = ReloadableSettings::new(settings, config.as_ref(), &names)?;
        let last_may_fail = providers.last().is_none_or(Provider::may_fail);
        let control = Arc::new(Control::new(name.clone(), names, settings, seed, last_may_fail));
        for (index, provider) in providers.iter().enumerate() {
            if provider.is_proven_when_built() {
                control.proofs.prove(index, ProvenBy::Built);
            }
        }
        Ok(FallbackChain::new(Chain {
            name,
            providers,
            needs,
            judge,
            repeat,
            marks,
            control,
            wait_for_body,
            error_text,
            panics,
            drill: OnceLock::new(),
        }))
    }
}

impl<Req, B: WrapBody> FallbackChainBuilder<Req, http::Response<B>> {
    /// How much of an answer must have come, of the primary and of every provider: [`Commit::Headers`] unless set.
    ///
    /// An upstream that sends 200 and then dies has failed, though its head looked good. With [`Commit::FirstFrame`] or
    /// [`Commit::Complete`] the chain waits for the body's first frame or its end, within the provider's time, and holds that
    /// much back. A body that breaks off is a failure, with [`Reason::BODY`](backstop_core::Reason::BODY), and the next provider
    /// is asked. A gRPC status that comes in trailers by then is judged like one in the headers. A gRPC body that ends without a
    /// status has failed.
    ///
    /// The answer is passed on byte for byte. After one that is not, the request counts as possibly processed.
    ///
    /// ```
    /// use axum::{body::Body, http::{Request, Response}};
    /// use backstop_fallback::{Commit, FallbackChain, Provider, name};
    ///
    /// # fn main() -> Result<(), backstop_fallback::ConfigError> {
    /// # #[cfg(feature = "axum")] {
    /// let chain: FallbackChain<Request<Body>, Response<Body>> = FallbackChain::builder("prices")
    ///     .commit_on(Commit::Complete { max_bytes: 64 * 1024 })
    ///     .provider(Provider::handler(name!("list"), || async { "9.99" }))
    ///     .build()?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    pub fn commit_on(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self.wait_for_body = commit.wait_for_body();
        self
    }
}

impl<Req, T> fmt::Debug for FallbackChainBuilder<Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FallbackChainBuilder")
            .field("name", &self.name)
            .field("total", &self.total)
            .field("providers", &self.providers)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}
