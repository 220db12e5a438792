//! The configuration of a circuit breaker, as plain data and as a builder.

mod check;
mod choices;
#[cfg(feature = "serde")]
mod file;
mod preset;
mod recovery;

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ClassifyFn, ErrorRef, Outcome, Rejection};
use backstop_kit::{ErrorText, Http, Plain, ProblemDetails, RejectAsError, RejectWith, Strategies, WithClassifier};

pub(crate) use check::{Settings, check_max_keys};
pub use choices::{OnDrop, SlowCalls, Wait, Window};
pub use preset::Preset;
pub use recovery::Recovery;

const DEFAULT_WAIT: Duration = Duration::from_secs(60);
const DEFAULT_RETRY_AFTER_JITTER: f64 = 0.1;
const DEFAULT_SUCCESS_THRESHOLD: u32 = 2;
const DEFAULT_MAX_CONCURRENT_PROBES: u32 = 1;
const DEFAULT_PROBE_LEASE: Duration = Duration::from_secs(30);
const DEFAULT_ON_DROP: OnDrop = OnDrop::FailureAfter(Duration::from_secs(5));

/// A circuit breaker as plain data, for [`CircuitBreakerLayer::from_config`](crate::CircuitBreakerLayer::from_config).
///
/// A field that is `None` takes a default that depends on the other fields.
///
/// With the feature `serde` it can be read from a file. A field that is left out has its default, a time is a text such as
/// `"250ms"`, and an unknown field is an error:
///
#[cfg_attr(feature = "serde", doc = "```")]
#[cfg_attr(not(feature = "serde"), doc = "```ignore")]
/// use backstop_circuit_breaker::CircuitBreakerConfig;
///
/// let config: CircuitBreakerConfig = toml::from_str(r#"
///     name = "ml_service"
///     ## consecutive_failures = 5      # 1 to 65,536; not unless set beside failure_rate
///     ## failure_rate = 0.5            # 0.000001 to 1
///     ## slow_calls = { threshold = "2s", share = 0.5 }    # 1 ms to 24 h, 0.000001 to 1
///     ## window = 100                  # 1 to 65,536 calls, or a time: "1s" to "24h"
///     ## min_calls = 20                # 1 to the calls in the window, or to 65,536
///     wait = "60s"                    # 1 ms to 24 h, or { first = "5s", max = "2m" }
///     ## wait_jitter = 0.0             # 0 to 1
///     ## respect_retry_after = "10m"   # up to this, 1 ms to 24 h; off unless set
///     retry_after_jitter = 0.1        # 0 to 1
///     ## seed = 7
///     success_threshold = 2           # 1 to 65,536 probes
///     max_concurrent_probes = 1       # 1 to 1000
///     probe_lease = "30s"             # 1 ms to 24 h
///     recovery = { ramp = [] }        # or [0.01, 0.05, 0.25, 0.5], each = "5s"
///     on_drop = { failure_after = "5s" }    # 1 ms to 24 h, or "ignore" or "failure"
///     observe_only = false
/// "#)?;
/// assert_eq!(config, CircuitBreakerConfig::new("ml_service"));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize))]
#[cfg_attr(feature = "serde", serde(default = "CircuitBreakerConfig::unnamed", deny_unknown_fields))]
#[non_exhaustive]
pub struct CircuitBreakerConfig {
    /// The layer's [name](crate::Name).
    pub name: Cow<'static, str>,
    /// See [`CircuitBreakerBuilder::consecutive_failures`].
    pub consecutive_failures: Option<u32>,
    /// See [`CircuitBreakerBuilder::failure_rate`].
    pub failure_rate: Option<f64>,
    /// See [`CircuitBreakerBuilder::slow_calls`].
    pub slow_calls: Option<SlowCalls>,
    /// See [`CircuitBreakerBuilder::window`].
    pub window: Option<Window>,
    /// See [`CircuitBreakerBuilder::min_calls`].
    pub min_calls: Option<u32>,
    /// See [`CircuitBreakerBuilder::wait`].
    pub wait: Wait,
    /// See [`CircuitBreakerBuilder::wait_jitter`].
    pub wait_jitter: Option<f64>,
    /// See [`CircuitBreakerBuilder::respect_retry_after`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub respect_retry_after: Option<Duration>,
    /// See [`CircuitBreakerBuilder::retry_after_jitter`].
    pub retry_after_jitter: f64,
    /// See [`CircuitBreakerBuilder::seed`].
    pub seed: Option<u64>,
    /// See [`CircuitBreakerBuilder::success_threshold`].
    pub success_threshold: u32,
    /// See [`CircuitBreakerBuilder::max_concurrent_probes`].
    pub max_concurrent_probes: u32,
    /// See [`CircuitBreakerBuilder::probe_lease`].
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub probe_lease: Duration,
    /// See [`CircuitBreakerBuilder::recovery`].
    pub recovery: Recovery,
    /// See [`CircuitBreakerBuilder::on_drop`].
    pub on_drop: OnDrop,
    /// See [`CircuitBreakerBuilder::observe_only`].
    pub observe_only: bool,
}

impl CircuitBreakerConfig {
    /// The defaults, under this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            consecutive_failures: None,
            failure_rate: None,
            slow_calls: None,
            window: None,
            min_calls: None,
            wait: Wait::Fixed(DEFAULT_WAIT),
            wait_jitter: None,
            respect_retry_after: None,
            retry_after_jitter: DEFAULT_RETRY_AFTER_JITTER,
            seed: None,
            success_threshold: DEFAULT_SUCCESS_THRESHOLD,
            max_concurrent_probes: DEFAULT_MAX_CONCURRENT_PROBES,
            probe_lease: DEFAULT_PROBE_LEASE,
            recovery: Recovery::at_once(),
            on_drop: DEFAULT_ON_DROP,
            observe_only: false,
        }
    }

    /// The defaults of a file, which must set the name.
    #[cfg(feature = "serde")]
    fn unnamed() -> Self {
        Self::new("")
    }
}

/// A builder with these strategies.
type BuilderOf<J, R, U, K, A> = CircuitBreakerBuilder<Strategies<J, R, U, K, A>>;

/// Builds a [`CircuitBreakerLayer`](crate::CircuitBreakerLayer), or a keyed one: see
/// [`CircuitBreakerLayer::builder`](crate::CircuitBreakerLayer::builder).
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerBuilder<P = Http> {
    pub(crate) config: CircuitBreakerConfig,
    pub(crate) error_text: ErrorText,
    pub(crate) protocol: P,
}

impl CircuitBreakerBuilder {
    pub(crate) fn new(config: CircuitBreakerConfig) -> Self {
        Self { config, error_text: ErrorText::default(), protocol: Http::default() }
    }

    /// For functions and other services that don't speak HTTP: rejects with the service's error, which must implement
    /// `From<Rejection>`, as `BoxError` does. See [`Plain`].
    /// Call it before other strategies are chosen, since it replaces them all: afterwards the builder hasn't got it.
    pub fn plain(self) -> CircuitBreakerBuilder<Plain> {
        self.map(|_| Plain::default())
    }
}

impl<P> CircuitBreakerBuilder<P> {
    /// Opens the circuit after this many failures without a success between them: 1 to 65,536, 5 unless set.
    ///
    /// For dependencies that are either up or down, and light traffic. If a share *p* of the calls fails at random, *n*
    /// failures in a row occur once in 1 / (*pⁿ* (1 − *p*)) calls. For 5 in a row at 1,000 calls a second, that is
    /// every 111 s if 10 % fail, and every 0.6 s if 30 % fail: see the [table](crate#failures-in-a-row-by-chance).
    ///
    /// Beside a [`failure_rate`](Self::failure_rate), either opens the circuit: many failures in a row show a complete
    /// outage at once, before the rate has its [`min_calls`](Self::min_calls). If only the rate is set, failures in a row
    /// don't open the circuit.
    pub const fn consecutive_failures(mut self, failures: u32) -> Self {
        self.config.consecutive_failures = Some(failures);
        self
    }

    /// Opens the circuit when this share of the calls in the window failed: 0.000001 to 1.
    ///
    /// For dependencies that fail partially, and for heavy traffic. May stand beside
    /// [`consecutive_failures`](Self::consecutive_failures). Checked at each failure, over the
    /// [`window`](Self::window), after at least [`min_calls`](Self::min_calls). Neutral calls aren't counted. Shares
    /// are exact: `2.0 / 3.0` opens at 2 of 3.
    pub const fn failure_rate(mut self, share: f64) -> Self {
        self.config.failure_rate = Some(share);
        self
    }

    /// Also opens the circuit when this share of the calls in the window took `threshold` or longer: 1 ms to 24 h, and
    /// 0.000001 to 1. Off unless set.
    ///
    /// For dependencies that get slow instead of failing. Works with both ways of counting failures, over the
    /// [`window`](Self::window), once there were [`min_calls`](Self::min_calls). A call's time runs from when it is
    /// first pending to its response head or its error; a call that is ready at once isn't slow. Neutral calls aren't
    /// counted. A slow probe opens the circuit again, whatever it answers.
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

    /// How many calls must be in the window before [`failure_rate`](Self::failure_rate) and [`slow_calls`](Self::slow_calls)
    /// open the circuit: 1 to the size of the [`window`](Self::window), or to 65,536 in a window of time. 20 unless set, or
    /// the window if that is smaller.
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

    /// Lengthens each wait at random by up to this share, so that many instances don't probe at once: 0 to 1. Unless set, 0.1
    /// for a growing wait, else 0.
    pub const fn wait_jitter(mut self, share: f64) -> Self {
        self.config.wait_jitter = Some(share);
        self
    }

    /// Waits as long as the answer that opened the circuit asked for (`Retry-After`, `grpc-retry-pushback-ms`), if that is
    /// longer than the circuit's own wait, up to `at_most`: 1 ms to 24 h. Off unless set.
    ///
    /// For dependencies whose answer you trust.
    pub const fn respect_retry_after(mut self, at_most: Duration) -> Self {
        self.config.respect_retry_after = Some(at_most);
        self
    }

    /// Lengthens the `Retry-After` of each refusal at random by up to this share, so that callers don't all come back at once:
    /// 0 to 1, 0.1 unless set. The circuit's own wait stays as it is.
    pub const fn retry_after_jitter(mut self, share: f64) -> Self {
        self.config.retry_after_jitter = share;
        self
    }

    /// Seeds the jitter, so that tests are reproducible.
    pub const fn seed(mut self, seed: u64) -> Self {
        self.config.seed = Some(seed);
        self
    }

    /// How many probes must succeed to close the circuit: 1 to 65,536, 2 unless set.
    pub const fn success_threshold(mut self, successes: u32) -> Self {
        self.config.success_threshold = successes;
        self
    }

    /// How many probes may run at once: 1 to 1000, 1 unless set. More run only if
    /// [every caller leaves](crate#callers-who-leave) for a whole wait.
    pub const fn max_concurrent_probes(mut self, probes: u32) -> Self {
        self.config.max_concurrent_probes = probes;
        self
    }

    /// After how long a probe that hasn't ended makes room for another: 1 ms to 24 h, 30 s unless set.
    ///
    /// Set it longer than a call may take: otherwise a slow service gets more probes than
    /// [`max_concurrent_probes`](Self::max_concurrent_probes). If a body is observed [to its end](crate::UntilBodyEnd)
    /// and is still incomplete after this time, the call counts as a success by its head.
    pub const fn probe_lease(mut self, lease: Duration) -> Self {
        self.config.probe_lease = lease;
        self
    }

    /// How the circuit closes after its probes succeeded: at once unless set, or by a [ramp](Recovery::ramp) that admits a
    /// growing share of the calls.
    ///
    /// For dependencies that can't take all calls at once after an outage: see [when to ramp](crate#recovering-by-a-ramp).
    pub const fn recovery(mut self, recovery: Recovery) -> Self {
        self.config.recovery = recovery;
        self
    }

    /// How a call that its caller drops is counted: [`OnDrop::FailureAfter`] 5 s unless set.
    pub const fn on_drop(mut self, on_drop: OnDrop) -> Self {
        self.config.on_drop = on_drop;
        self
    }

    /// Counts and reports, and refuses nothing: to try settings on real traffic. Off unless set.
    ///
    /// What the circuit would do shows in its [counts](crate::CircuitBreakerHandle::counts), its
    /// [observed state](crate::CircuitBreakerHandle::observed_state), its transitions and the metric
    /// `circuit_breaker_would_reject_total`. To everything else it is closed. Only calls that it would have admitted count,
    /// so that it recovers as it would have done. [`enforce`](crate::CircuitBreakerHandle::enforce) and a
    /// [reload](crate::CircuitBreakerHandle::reload) end it: the circuit then starts closed, with nothing counted. What an
    /// operator [isolates](crate::CircuitBreakerHandle::isolate) is refused nevertheless.
    pub const fn observe_only(mut self) -> Self {
        self.config.observe_only = true;
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

    /// The settings so far.
    pub const fn config(&self) -> &CircuitBreakerConfig {
        &self.config
    }

    fn map<P2>(self, f: impl FnOnce(P) -> P2) -> CircuitBreakerBuilder<P2> {
        let Self { config, error_text, protocol } = self;
        CircuitBreakerBuilder { config, error_text, protocol: f(protocol) }
    }
}

impl<J, R, U, K, A> BuilderOf<J, R, U, K, A> {
    /// Judges results with `classify`.
    pub fn classify<C>(self, classify: C) -> BuilderOf<J::With<C>, R, U, K, A>
    where
        J: WithClassifier,
    {
        self.map(|protocol| protocol.with_judge(J::with_classifier(classify)))
    }

    /// Judges results with a closure.
    pub fn classify_fn<Res, F>(self, judge: F) -> BuilderOf<J::With<ClassifyFn<F>>, R, U, K, A>
    where
        J: WithClassifier,
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome,
    {
        self.classify(ClassifyFn::new(judge))
    }

    /// Rejects with a response whose body says why: a problem document (RFC 9457), see [`ProblemDetails`]. Unless set, it has no
    /// body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
    pub fn problem_details(self) -> BuilderOf<J, ProblemDetails, U, K, A> {
        self.map(|protocol| protocol.with_reject(ProblemDetails::new()))
    }

    /// Rejects with the service's error, which implements `From<Rejection>`, as `BoxError` does.
    pub fn reject_as_error(self) -> BuilderOf<J, RejectAsError, U, K, A> {
        self.map(|protocol| protocol.with_reject(RejectAsError::new()))
    }

    /// Rejects with the `Result` that `make` returns for the [`Rejection`].
    pub fn reject_with<Res, E, F>(self, make: F) -> BuilderOf<J, RejectWith<F>, U, K, A>
    where
        F: Fn(Rejection) -> Result<Res, E>,
    {
        self.map(|protocol| protocol.with_reject(RejectWith::new(make)))
    }

    /// Until when a call is observed: [`UntilHeaders`](crate::UntilHeaders), the default, or
    /// [`UntilBodyEnd`](crate::UntilBodyEnd), for bodies that may break off and gRPC statuses in trailers.
    ///
    /// ```
    /// use backstop_circuit_breaker::{CircuitBreakerLayer, UntilBodyEnd};
    ///
    /// let breaker = CircuitBreakerLayer::builder("ml_service").observe(UntilBodyEnd).build()?;
    /// # Ok::<(), backstop_circuit_breaker::ConfigError>(())
    /// ```
    pub fn observe<U2>(self, until: U2) -> BuilderOf<J, R, U2, K, A> {
        self.map(|protocol| protocol.with_until(until))
    }
}

impl<P> fmt::Debug for CircuitBreakerBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}
