//! The builder.

use std::{fmt, marker::PhantomData, time::Duration};

use backstop_core::{
    ClassifyFn, ConfigError, ErrorRef, ErrorText, HttpClassify, HttpReject, Outcome, RejectAsError, RejectWith,
    Rejection,
};

use crate::{
    CircuitBreakerConfig, CircuitBreakerLayer, KeyedCircuitBreakerLayer, OnDrop, Preset, SlowCalls, UntilHeaders, Wait,
    Window, config::check_max_keys, keyed::Keyed,
};

/// Builds a [`CircuitBreakerLayer`]: see [`CircuitBreakerLayer::builder`].
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerBuilder<C = HttpClassify, J = HttpReject, O = UntilHeaders> {
    config: CircuitBreakerConfig,
    error_text: ErrorText,
    classify: C,
    reject: J,
    observe: PhantomData<fn() -> O>,
}

impl CircuitBreakerBuilder {
    pub(crate) fn new(config: CircuitBreakerConfig) -> Self {
        Self {
            config,
            error_text: ErrorText::default(),
            classify: HttpClassify::new(),
            reject: HttpReject::default(),
            observe: PhantomData,
        }
    }
}

impl<C, J, O> CircuitBreakerBuilder<C, J, O> {
    /// Sets the knobs that a [`Preset`] speaks of, and leaves the others as they are. Those that are set afterwards are
    /// kept.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, Preset};
    ///
    /// let breaker = CircuitBreakerLayer::builder("search")
    ///     .preset(Preset::LatencyCritical)
    ///     .slow_calls(Duration::from_millis(200), 0.5) // instead of the preset's 500 ms
    ///     .build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn preset(mut self, preset: Preset) -> Self {
        self.config = self.config.preset(preset);
        self
    }

    /// Opens the circuit after this many failures without a success between them: 1 to 65,536, 5 unless set.
    ///
    /// For dependencies that are up or down, and few calls: *n* failures in a row come by chance once in
    /// 1 / (*pⁿ* (1 − *p*)) calls where a share *p* of them fails. With 5 in a row, 10 % failing and 1,000 calls a second
    /// that is every 111 s, with 30 % failing every 0.6 s: see the [table](crate#failures-in-a-row-by-chance). Not beside
    /// [`failure_rate`](Self::failure_rate).
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.config.consecutive_failures = Some(failures);
        self
    }

    /// Opens the circuit when this share of the calls in the window failed: 0.000001 to 1.
    ///
    /// For dependencies that fail in part, and for much traffic. It is asked at each failure, over the
    /// [`window`](Self::window), once there were [`min_calls`](Self::min_calls). Neutral calls aren't counted. Shares are
    /// compared in whole calls: `2.0 / 3.0` opens at 2 of 3.
    pub const fn failure_rate(mut self, share: f64) -> Self {
        self.config.failure_rate = Some(share);
        self
    }

    /// Opens the circuit, too, when this share of the last calls took `threshold` or longer: 1 ms to 24 h, and 0.000001
    /// to 1. Off unless set.
    ///
    /// For dependencies that drown instead of failing. Beside either way to count failures, over the
    /// [`window`](Self::window), once there were [`min_calls`](Self::min_calls). A call's time runs from when it
    /// was first pending to its response head or its error; one that is ready at once isn't slow. Neutral calls aren't
    /// counted. A probe that is slow opens the circuit again, whatever it answers.
    pub const fn slow_calls(mut self, threshold: Duration, share: f64) -> Self {
        self.config.slow_calls = Some(SlowCalls::new(threshold, share));
        self
    }

    /// How far [`failure_rate`](Self::failure_rate) and [`slow_calls`](Self::slow_calls) look back: 1 to 65,536 calls,
    /// or 1 s to 24 h. The last 100 calls unless set. A number of calls, a [`Duration`], or a [`Window`].
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, Window};
    ///
    /// let breaker = || CircuitBreakerLayer::builder("ml_service").failure_rate(0.5);
    /// let last_calls = breaker().window(Window::Calls(200)).build()?;
    /// let last_minute = breaker().window(Window::Time(Duration::from_secs(60))).build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn window(mut self, window: impl Into<Window>) -> Self {
        self.config.window = Some(window.into());
        self
    }

    /// How many calls [`failure_rate`](Self::failure_rate) and [`slow_calls`](Self::slow_calls) need before they say
    /// anything: 1 to the calls in the [`window`](Self::window), or to 65,536 in a window of time. 20 unless set, or the
    /// window where that is less.
    pub const fn min_calls(mut self, calls: u32) -> Self {
        self.config.min_calls = Some(calls);
        self
    }

    /// How long the circuit stays open before it lets a probe through: 1 ms to 24 h, 60 s unless set. A [`Duration`], or
    /// a [`Wait`] that grows with each recovery that failed.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, Wait};
    ///
    /// let wait = Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(120) };
    /// let breaker = CircuitBreakerLayer::builder("ml_service").wait(wait).build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn wait(mut self, wait: impl Into<Wait>) -> Self {
        self.config.wait = wait.into();
        self
    }

    /// Stretches each wait at random by up to this share of it, so that many instances don't probe at once: 0 to 1. 0.1
    /// unless set where the wait grows, else 0.
    pub const fn wait_jitter(mut self, share: f64) -> Self {
        self.config.wait_jitter = Some(share);
        self
    }

    /// Waits as long as the dependency asked for (`Retry-After`, `grpc-retry-pushback-ms`) in the answer that opened the
    /// circuit, where that is longer than its own wait, up to `at_most`: 1 ms to 24 h. Off unless set.
    ///
    /// For dependencies that you trust to know.
    pub const fn respect_retry_after(mut self, at_most: Duration) -> Self {
        self.config.respect_retry_after = Some(at_most);
        self
    }

    /// Stretches the wait that refused callers are told at random by up to this share of it, so that they don't all
    /// come back at once: 0 to 1. 0.1 unless set. It only adds, and leaves the circuit's own wait as it is.
    pub const fn retry_after_jitter(mut self, share: f64) -> Self {
        self.config.retry_after_jitter = share;
        self
    }

    /// Makes what is random the same every time, for tests.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// How many probes must succeed to close the circuit: 1 to 65,536, 2 unless set.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.config.success_threshold = successes;
        self
    }

    /// How many probes may run at once: 1 to 1000, 1 unless set. More only where [every caller leaves](crate#callers-who-leave)
    /// before there is a result, for a whole wait.
    pub const fn max_concurrent_probes(mut self, probes: u32) -> Self {
        self.config.max_concurrent_probes = probes;
        self
    }

    /// After how long a probe that hasn't ended makes room for another: 1 ms to 24 h, 30 s unless set.
    ///
    /// Longer than a call may take, or a slow service gets more probes than
    /// [`max_concurrent_probes`](Self::max_concurrent_probes). A body that is observed
    /// [to its end](crate::UntilBodyEnd), and is still coming after so long, counts as a success by its head.
    pub const fn probe_lease(mut self, lease: Duration) -> Self {
        self.config.probe_lease = lease;
        self
    }

    /// How a call that its caller drops is counted: [`OnDrop::FailureAfter`] 5 s unless set.
    pub const fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.config.on_drop = on_drop;
        self
    }

    /// What the log shows of the error that opened the circuit: unless set, its text and that of its causes, cut to 256
    /// bytes, with control characters escaped and without the user information, query and fragment of URLs.
    ///
    /// `None` shows nothing. The closure's text is cut and escaped in the same way. A call that failed without an error
    /// shows why instead, such as `status 503`.
    pub fn error_text(mut self, text: impl Fn(ErrorRef<'_>) -> Option<String> + Send + Sync + 'static) -> Self {
        self.error_text = ErrorText::new(text);
        self
    }

    /// Judges results with `classify`.
    pub fn classify<C2>(self, classify: C2) -> CircuitBreakerBuilder<C2, J, O> {
        let Self { config, error_text, reject, .. } = self;
        CircuitBreakerBuilder { config, error_text, classify, reject, observe: PhantomData }
    }

    /// Judges results with a closure.
    pub fn classify_fn<Res, F>(self, judge: F) -> CircuitBreakerBuilder<ClassifyFn<F>, J, O>
    where
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> CircuitBreakerBuilder<C, RejectAsError, O> {
        self.reject(RejectAsError::new())
    }

    /// Rejects with what `make` makes of the [`Rejection`]: a `Result` of the service's own types.
    pub fn reject_with<Res, E, F>(self, make: F) -> CircuitBreakerBuilder<C, RejectWith<F>, O>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.reject(RejectWith::new(make))
    }

    fn reject<J2>(self, reject: J2) -> CircuitBreakerBuilder<C, J2, O> {
        let Self { config, error_text, classify, .. } = self;
        CircuitBreakerBuilder { config, error_text, classify, reject, observe: PhantomData }
    }

    /// Until when a call is watched: [`UntilHeaders`], the default, or [`UntilBodyEnd`](crate::UntilBodyEnd), for bodies
    /// that may break off and gRPC statuses in trailers.
    ///
    /// ```
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, UntilBodyEnd};
    ///
    /// let breaker = CircuitBreakerLayer::builder("ml_service").observe(UntilBodyEnd).build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    #[expect(clippy::needless_pass_by_value, reason = "what it is for is its type")]
    pub fn observe<O2>(self, until: O2) -> CircuitBreakerBuilder<C, J, O2> {
        _ = until;
        let Self { config, error_text, classify, reject, observe: _ } = self;
        CircuitBreakerBuilder { config, error_text, classify, reject, observe: PhantomData }
    }

    /// The layer.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is no [`Name`](crate::Name), for a value outside its range, and for settings
    /// that contradict one another.
    pub fn build(self) -> Result<CircuitBreakerLayer<C, J, O>, ConfigError> {
        let Self { config, error_text, classify, reject, observe: _ } = self;
        let (name, settings) = config.check()?;
        Ok(CircuitBreakerLayer::with(name, &settings, error_text, classify, reject))
    }

    /// A layer with a circuit for each key that `key` takes from a request, and at most `max_keys` of them: 1 to
    /// 16,777,216. See [`KeyedCircuitBreakerLayer`].
    ///
    /// # Errors
    /// As [`build`](Self::build), and for `max_keys` outside its range.
    pub fn build_keyed<Req, K, F>(
        self,
        max_keys: u32,
        key: F,
    ) -> Result<KeyedCircuitBreakerLayer<K, F, C, J, O>, ConfigError>
    where
        F: Fn(&Req) -> K,
    {
        let Self { config, error_text, classify, reject, observe: _ } = self;
        let (name, settings) = config.check()?;
        let max_keys = check_max_keys(max_keys)?;
        let keyed = Keyed::new(name, settings.keyed(), max_keys, error_text, (classify, reject));
        Ok(KeyedCircuitBreakerLayer::new(keyed, key))
    }
}

impl<C, J, O> fmt::Debug for CircuitBreakerBuilder<C, J, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
