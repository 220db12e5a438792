//! The builder.

use std::{borrow::Cow, fmt, time::Duration};

use backstop_core::{ConfigError, Name};
use tower_layer::Identity;

use super::{Parts, Standard, StandardConfig, optional::Optional};
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
    without: Without,
}

/// The builders of the parts, with their defaults.
pub type PartBuilders =
    Parts<RetryBuilder, CircuitBreakerBuilder, BulkheadBuilder, TimeoutBuilder, PropagateDeadlineBuilder>;

/// Which parts are left out.
#[derive(Clone, Copy, Debug, Default)]
struct Without {
    retry: bool,
    circuit_breaker: bool,
    bulkhead: bool,
    timeout: bool,
    propagate_deadline: bool,
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
        Self { name, parts, without: Without::default() }
    }
}

impl<R, C, B, T, D> StandardBuilder<Parts<R, C, B, T, D>> {
    /// Changes the retry's settings: see [`RetryBuilder`].
    pub fn retry<R2>(self, set: impl FnOnce(R) -> R2) -> StandardBuilder<Parts<R2, C, B, T, D>> {
        self.map(
            |without| without.retry = false,
            |parts| {
                let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = parts;
                Parts { retry: set(retry), circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good }
            },
        )
    }

    /// Changes the circuit breaker's settings: see [`CircuitBreakerBuilder`].
    pub fn circuit_breaker<C2>(self, set: impl FnOnce(C) -> C2) -> StandardBuilder<Parts<R, C2, B, T, D>> {
        self.map(
            |without| without.circuit_breaker = false,
            |parts| {
                let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = parts;
                let circuit_breaker = set(circuit_breaker);
                Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good }
            },
        )
    }

    /// Changes the bulkhead's settings: see [`BulkheadBuilder`].
    pub fn bulkhead<B2>(self, set: impl FnOnce(B) -> B2) -> StandardBuilder<Parts<R, C, B2, T, D>> {
        self.map(
            |without| without.bulkhead = false,
            |parts| {
                let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = parts;
                Parts { retry, circuit_breaker, bulkhead: set(bulkhead), timeout, propagate_deadline, last_known_good }
            },
        )
    }

    /// Changes the timeout's settings: see [`TimeoutBuilder`]. For its limit alone there is [`timeout`](Self::timeout).
    pub fn timeout_with<T2>(self, set: impl FnOnce(T) -> T2) -> StandardBuilder<Parts<R, C, B, T2, D>> {
        self.map(
            |without| without.timeout = false,
            |parts| {
                let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = parts;
                Parts { retry, circuit_breaker, bulkhead, timeout: set(timeout), propagate_deadline, last_known_good }
            },
        )
    }

    /// Changes how the remaining time is sent to the other service: see [`PropagateDeadlineBuilder`].
    ///
    /// Unless set, it is sent with gRPC requests alone, in `grpc-timeout`.
    pub fn propagate_deadline<D2>(self, set: impl FnOnce(D) -> D2) -> StandardBuilder<Parts<R, C, B, T, D2>> {
        self.map(
            |without| without.propagate_deadline = false,
            |parts| {
                let Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good } = parts;
                let propagate_deadline = set(propagate_deadline);
                Parts { retry, circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good }
            },
        )
    }

    /// Leaves the retry out: each request is sent once.
    pub const fn without_retry(mut self) -> Self {
        self.without.retry = true;
        self
    }

    /// Leaves the circuit breaker out: a service that is down is called for each request.
    pub const fn without_circuit_breaker(mut self) -> Self {
        self.without.circuit_breaker = true;
        self
    }

    /// Leaves the bulkhead out: any number of calls run at once.
    pub const fn without_bulkhead(mut self) -> Self {
        self.without.bulkhead = true;
        self
    }

    /// Leaves the timeout out: **nothing here ends a call that hangs**, and a hung call keeps its permit of the bulkhead.
    ///
    /// Only for a client that ends its calls itself, or inside a layer that ends them, such as a
    /// [`DeadlineLayer`](crate::DeadlineLayer). The circuit breaker counts what they end.
    pub const fn without_timeout(mut self) -> Self {
        self.without.timeout = true;
        self
    }

    /// Leaves deadline propagation out: the other service isn't told how much time is left.
    pub const fn without_propagate_deadline(mut self) -> Self {
        self.without.propagate_deadline = true;
        self
    }

    fn map<P2>(
        mut self,
        puts_in: impl FnOnce(&mut Without),
        f: impl FnOnce(Parts<R, C, B, T, D>) -> P2,
    ) -> StandardBuilder<P2> {
        puts_in(&mut self.without);
        StandardBuilder { name: self.name, parts: f(self.parts), without: self.without }
    }
}

impl<R, C, B, T, D> StandardBuilder<Parts<R, C, B, TimeoutBuilder<T>, D>> {
    /// How long an attempt may take: 1 ms to 1 h, 1 s unless set. See [`TimeoutBuilder::limit`].
    pub fn timeout(self, limit: Duration) -> Self {
        self.timeout_with(|timeout| timeout.limit(limit))
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
    /// The stack.
    ///
    /// # Errors
    /// [`ConfigError`] for a name that is no [`Name`], for a setting that its part refuses, and for settings of two parts
    /// that contradict one another:
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
    /// ```
    pub fn build(self) -> Result<Built<R, C, Rej, U, T, D>, ConfigError> {
        let Self { name, parts, without } = self;
        StandardConfig {
            name: name.clone(),
            retry: (!without.retry).then(|| parts.retry.config().clone()),
            circuit_breaker: (!without.circuit_breaker).then(|| parts.circuit_breaker.config().clone()),
            bulkhead: (!without.bulkhead).then(|| parts.bulkhead.config().clone()),
            timeout: (!without.timeout).then(|| parts.timeout.config().clone()),
            propagate_deadline: (!without.propagate_deadline).then(|| parts.propagate_deadline.config().clone()),
        }
        .check()?;
        let parts = Parts {
            retry: Optional(unless(without.retry, || parts.retry.build())?),
            circuit_breaker: Optional(unless(without.circuit_breaker, || parts.circuit_breaker.build())?),
            bulkhead: Optional(unless(without.bulkhead, || parts.bulkhead.build())?),
            timeout: Optional(unless(without.timeout, || parts.timeout.build())?),
            propagate_deadline: Optional(unless(without.propagate_deadline, || parts.propagate_deadline.build())?),
            last_known_good: Identity::new(),
        };
        Ok(Standard::with(Name::new(name)?, parts))
    }
}

fn unless<T>(left_out: bool, build: impl FnOnce() -> Result<T, ConfigError>) -> Result<Option<T>, ConfigError> {
    if left_out { Ok(None) } else { build().map(Some) }
}

impl<P> fmt::Debug for StandardBuilder<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandardBuilder")
            .field("name", &self.name)
            .field("without", &self.without)
            .finish_non_exhaustive()
    }
}
