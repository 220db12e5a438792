//! The builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ClassifyFn, ConfigError, ErrorRef, Name, Outcome};
use tower_layer::Identity;

use super::{
    Parts, Standard, StandardConfig,
    config::CIRCUIT_BREAKER,
    optional::Optional,
    strategies::{ChooseClassifier, ChooseProblemDetails},
};
use crate::{
    BulkheadBuilder, BulkheadLayer, CircuitBreakerBuilder, CircuitBreakerLayer, PropagateDeadlineBuilder,
    PropagateDeadlineLayer, RetryBuilder, RetryLayer, TimeoutBuilder, TimeoutLayer,
};

/// Builds a [`Standard`] stack: see [`standard`](super::standard()).
///
/// The methods for a part pass its builder through a closure. `P` are the parts' builders.
#[derive(Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct StandardBuilder<P = PartBuilders> {
    name: Cow<'static, str>,
    parts: P,
    choices: Choices,
}

/// The builders of the parts, with their defaults.
pub type PartBuilders =
    Parts<RetryBuilder, CircuitBreakerBuilder, BulkheadBuilder, TimeoutBuilder, PropagateDeadlineBuilder>;

/// What was said about each part.
#[derive(Clone, Copy, Debug, Default)]
struct Choices {
    retry: Choice,
    circuit_breaker: Choice,
    bulkhead: Choice,
    timeout: Choice,
    propagate_deadline: Choice,
}

/// What was said about a part. A part of which nothing was said has its defaults.
#[derive(Clone, Copy, Debug, Default)]
struct Choice {
    is_set: bool,
    is_left_out: bool,
}

impl Choice {
    /// Builds the part, unless it is left out.
    fn build<B, L>(
        self,
        part: &'static str,
        builder: B,
        build: impl FnOnce(B) -> Result<L, ConfigError>,
    ) -> Result<Optional<L>, ConfigError> {
        match self {
            Self { is_set: true, is_left_out: true } => {
                let allowed = format!("either `{part}` or `without_{part}`");
                Err(ConfigError::new(part, "set and left out", allowed))
            }
            Self { is_left_out: true, .. } => Ok(Optional(None)),
            Self { is_left_out: false, .. } => {
                build(builder).map(|layer| Optional(Some(layer))).map_err(|error| error.inside(part))
            }
        }
    }
}

impl StandardBuilder {
    pub(super) fn new(name: Cow<'static, str>) -> Self {
        let parts = Parts {
            retry: RetryLayer::builder(name.clone()),
            circuit_breaker: CircuitBreakerLayer::builder(name.clone()),
            bulkhead: BulkheadLayer::builder(name.clone()),
            timeout: TimeoutLayer::builder(name.clone()),
            propagate_deadline: PropagateDeadlineLayer::builder(name.clone()),
            last_known_good: Identity::new(),
        };
        Self { name, parts, choices: Choices::default() }
    }
}

impl<R, C, B, T, D> StandardBuilder<Parts<R, C, B, T, D>> {
    /// Changes the retry's settings: see [`RetryBuilder`].
    pub fn retry<R2>(self, set: impl FnOnce(R) -> R2) -> StandardBuilder<Parts<R2, C, B, T, D>> {
        self.set(|choices| &mut choices.retry, |parts| parts.map_retry(set))
    }

    /// Changes the circuit breaker's settings: see [`CircuitBreakerBuilder`].
    pub fn circuit_breaker<C2>(self, set: impl FnOnce(C) -> C2) -> StandardBuilder<Parts<R, C2, B, T, D>> {
        self.set(|choices| &mut choices.circuit_breaker, |parts| parts.map_circuit_breaker(set))
    }

    /// Changes the bulkhead's settings: see [`BulkheadBuilder`].
    pub fn bulkhead<B2>(self, set: impl FnOnce(B) -> B2) -> StandardBuilder<Parts<R, C, B2, T, D>> {
        self.set(|choices| &mut choices.bulkhead, |parts| parts.map_bulkhead(set))
    }

    /// Changes the timeout's settings: see [`TimeoutBuilder`]. For its limit alone there is [`timeout`](Self::timeout).
    pub fn timeout_with<T2>(self, set: impl FnOnce(T) -> T2) -> StandardBuilder<Parts<R, C, B, T2, D>> {
        self.set(|choices| &mut choices.timeout, |parts| parts.map_timeout(set))
    }

    /// Changes how the remaining time is sent to the other service: see [`PropagateDeadlineBuilder`].
    ///
    /// Unless set, it is sent with gRPC requests alone, in `grpc-timeout`.
    pub fn propagate_deadline<D2>(self, set: impl FnOnce(D) -> D2) -> StandardBuilder<Parts<R, C, B, T, D2>> {
        self.set(|choices| &mut choices.propagate_deadline, |parts| parts.map_propagate_deadline(set))
    }

    /// Leaves the retry out: each request is sent once.
    ///
    /// A part that is left out can't have settings: [`build`](StandardBuilder::build) refuses that, whichever came first.
    pub const fn without_retry(mut self) -> Self {
        self.choices.retry.is_left_out = true;
        self
    }

    /// Leaves the circuit breaker out: a service that is down is called for each request.
    pub const fn without_circuit_breaker(mut self) -> Self {
        self.choices.circuit_breaker.is_left_out = true;
        self
    }

    /// Leaves the bulkhead out: any number of calls run at once.
    pub const fn without_bulkhead(mut self) -> Self {
        self.choices.bulkhead.is_left_out = true;
        self
    }

    /// Leaves the timeout out: **nothing here ends a call that hangs**, and a hung call keeps its permit of the bulkhead.
    ///
    /// Only for a client that ends its calls itself, or inside a layer that ends them, such as a
    /// [`DeadlineLayer`](crate::DeadlineLayer). The circuit breaker counts what they end.
    pub const fn without_timeout(mut self) -> Self {
        self.choices.timeout.is_left_out = true;
        self
    }

    /// Leaves deadline propagation out: the other service isn't told how much time is left.
    pub const fn without_propagate_deadline(mut self) -> Self {
        self.choices.propagate_deadline.is_left_out = true;
        self
    }

    /// Changes a part that isn't left out.
    fn set<P2>(
        mut self,
        choice: fn(&mut Choices) -> &mut Choice,
        change: impl FnOnce(Parts<R, C, B, T, D>) -> P2,
    ) -> StandardBuilder<P2> {
        choice(&mut self.choices).is_set = true;
        self.map(change)
    }

    /// Changes all parts, without saying anything about whether they are left out.
    fn map<P2>(self, f: impl FnOnce(Parts<R, C, B, T, D>) -> P2) -> StandardBuilder<P2> {
        StandardBuilder { name: self.name, parts: f(self.parts), choices: self.choices }
    }
}

impl<R, C, B, T, D> StandardBuilder<Parts<R, C, B, TimeoutBuilder<T>, D>> {
    /// How long an attempt may take: 1 ms to 1 h, 1 s unless set. See [`TimeoutBuilder::limit`].
    pub fn timeout(self, limit: Duration) -> Self {
        self.timeout_with(|timeout| timeout.limit(limit))
    }
}

impl<R: ChooseClassifier, C: ChooseClassifier, B, T, D> StandardBuilder<Parts<R, C, B, T, D>> {
    /// Judges results with `classify`, in the retry and in the circuit breaker.
    ///
    /// ```
    /// use backstop::{HttpClassify, standard};
    /// use http::StatusCode;
    ///
    /// let search = standard("search").classify(HttpClassify::new().transient(StatusCode::NOT_FOUND)).build()?;
    /// # let _ = search;
    /// # Ok::<(), backstop::ConfigError>(())
    /// ```
    pub fn classify<Cl: Clone>(self, classify: Cl) -> ClassifiedBy<Cl, R, C, B, T, D> {
        self.map(|parts| {
            parts
                .map_retry(|retry| retry.choose(classify.clone()))
                .map_circuit_breaker(|circuit| circuit.choose(classify))
        })
    }

    /// Judges results with a closure, in the retry and in the circuit breaker.
    pub fn classify_fn<Res, F>(self, judge: F) -> ClassifiedBy<ClassifyFn<F>, R, C, B, T, D>
    where
        F: Fn(Result<&Res, ErrorRef<'_>>) -> Outcome + Clone,
    {
        self.classify(ClassifyFn::new(judge))
    }
}

/// A builder of a stack whose retry and circuit breaker judge by `Cl`.
type ClassifiedBy<Cl, R, C, B, T, D> =
    StandardBuilder<Parts<<R as ChooseClassifier>::With<Cl>, <C as ChooseClassifier>::With<Cl>, B, T, D>>;

/// A builder of a stack whose parts reject with problem documents.
type WithProblemDetails<R, C, B, T, D> = StandardBuilder<
    Parts<
        R,
        <C as ChooseProblemDetails>::With,
        <B as ChooseProblemDetails>::With,
        <T as ChooseProblemDetails>::With,
        <D as ChooseProblemDetails>::With,
    >,
>;

impl<R, C, B, T, D> StandardBuilder<Parts<R, C, B, T, D>>
where
    C: ChooseProblemDetails,
    B: ChooseProblemDetails,
    T: ChooseProblemDetails,
    D: ChooseProblemDetails,
{
    /// Each part rejects with a response whose body says why: a problem document (RFC 9457), see
    /// [`ProblemDetails`](backstop_kit::ProblemDetails). Unless set, it has no body.
    ///
    /// For response bodies that are [`WrapBody`](backstop_kit::WrapBody).
    ///
    /// ```
    /// use backstop::standard;
    ///
    /// let search = standard("search").problem_details().build()?;
    /// # let _ = search;
    /// # Ok::<(), backstop::ConfigError>(())
    /// ```
    pub fn problem_details(self) -> WithProblemDetails<R, C, B, T, D> {
        self.map(|parts| {
            parts
                .map_circuit_breaker(C::choose)
                .map_bulkhead(B::choose)
                .map_timeout(T::choose)
                .map_propagate_deadline(D::choose)
        })
    }
}

/// What [`StandardBuilder::build`] makes of its parts.
type Built<R, C, Rej, U, T, D> = Standard<
    Parts<
        Optional<RetryLayer<R>>,
        Optional<CircuitBreakerLayer<C>>,
        Optional<BulkheadLayer<Rej, U>>,
        Optional<TimeoutLayer<T>>,
        Optional<PropagateDeadlineLayer<D>>,
    >,
>;

impl<R, C, Rej, U, T, D>
    StandardBuilder<
        Parts<
            RetryBuilder<R>,
            CircuitBreakerBuilder<C>,
            BulkheadBuilder<Rej, U>,
            TimeoutBuilder<T>,
            PropagateDeadlineBuilder<D>,
        >,
    >
{
    /// The settings so far. A part that is left out is `None`.
    pub fn config(&self) -> StandardConfig {
        let Self { name, parts, choices } = self;
        StandardConfig {
            name: name.clone(),
            retry: (!choices.retry.is_left_out).then(|| parts.retry.config().clone()),
            circuit_breaker: (!choices.circuit_breaker.is_left_out).then(|| parts.circuit_breaker.config().clone()),
            bulkhead: (!choices.bulkhead.is_left_out).then(|| parts.bulkhead.config().clone()),
            timeout: (!choices.timeout.is_left_out).then(|| parts.timeout.config().clone()),
            propagate_deadline: (!choices.propagate_deadline.is_left_out)
                .then(|| parts.propagate_deadline.config().clone()),
        }
    }

    /// The stack.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is no [`Name`], for a setting that its part refuses, for a part that has settings and is
    /// left out, and for settings of two parts that contradict one another:
    ///
    /// | setting | must be |
    /// |---|---|
    /// | the timeout's limit | up to the retry's total |
    /// | the bulkhead's `max_wait`, if set | up to the retry's total |
    /// | the circuit breaker's `probe_lease` | at least the timeout's limit |
    /// | the threshold of the circuit breaker's `slow_calls` | less than the timeout's limit |
    /// | the margin of the propagated deadline | less than the timeout's limit |
    ///
    /// ```
    /// use std::time::Duration;
    /// use backstop::standard;
    ///
    /// let error = standard("ml").timeout(Duration::from_secs(90)).build().unwrap_err();
    /// assert_eq!(error.to_string(), "timeout.limit is 90s, allowed is: up to retry.total, which is 60s");
    ///
    /// let error = standard("ml").without_retry().retry(|retry| retry.max_attempts(2)).build().unwrap_err();
    /// assert_eq!(error.to_string(), "retry is \"set and left out\", allowed is: either `retry` or `without_retry`");
    /// ```
    pub fn build(self) -> Result<Built<R, C, Rej, U, T, D>, ConfigError> {
        let config = self.config();
        let Self { name, parts, choices } = self;
        let name = Name::new(name)?;
        let parts = Parts {
            retry: choices.retry.build("retry", parts.retry, RetryBuilder::build)?,
            circuit_breaker: choices.circuit_breaker.build(
                "circuit_breaker",
                parts.circuit_breaker.or_preset(CIRCUIT_BREAKER),
                CircuitBreakerBuilder::build,
            )?,
            bulkhead: choices.bulkhead.build("bulkhead", parts.bulkhead, BulkheadBuilder::build)?,
            timeout: choices.timeout.build("timeout", parts.timeout, TimeoutBuilder::build)?,
            propagate_deadline: choices.propagate_deadline.build(
                "propagate_deadline",
                parts.propagate_deadline,
                PropagateDeadlineBuilder::build,
            )?,
            last_known_good: Identity::new(),
        };
        config.check()?;
        Ok(Standard::with(name, parts, config))
    }
}

impl<P> fmt::Debug for StandardBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardBuilder")
            .field("name", &self.name)
            .field("choices", &self.choices)
            .finish_non_exhaustive()
    }
}
