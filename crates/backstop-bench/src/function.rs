//! Calls of functions that are ready at once, and the peers that have the same: their circuit breakers around a function,
//! and what comes nearest to the whole stack.

use std::{
    future::{Ready, ready},
    hint::black_box,
    time::Duration,
};

use backstop::{BulkheadLayer, CircuitBreakerLayer, Guard, RetryLayer, Standard, TimeoutLayer, name};
use failsafe::futures::CircuitBreaker as _;
use tower::{BoxError, Layer, Service, ServiceBuilder, service_fn};

use crate::{
    call::{calls, poll_once},
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "function",
    tables: &[Table::new("The whole stack", stacks), Table::new("One layer", layers)],
    others: &[],
};

const AN_HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Debug)]
struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

#[inline(never)]
fn answer(n: u64) -> Ready<Result<u64, Failed>> {
    ready(Ok(black_box(n)))
}

fn bare() -> impl FnMut(u64) + Send + 'static {
    |n| _ = black_box(poll_once(answer(black_box(n))).is_ok())
}

fn guarded(guard: Guard) -> impl FnMut(u64) + Send + 'static {
    move |n| _ = black_box(poll_once(guard.call(|| answer(black_box(n)))).is_ok())
}

fn stacks() -> Vec<Contender> {
    let guard = || Standard::new(name!("bench")).guard();
    vec![
        Contender::new("bare", bare),
        Contender::new("ours, call", move || guarded(guard())).target("60 ns, 0 allocations"),
        Contender::new("ours, call_once", move || {
            let guard = guard();
            move |n| _ = black_box(poll_once(guard.call_once(|| answer(black_box(n)))).is_ok())
        })
        .target("60 ns, 0 allocations"),
        Contender::new("tower-resilience's retry and breaker, tower's limit and timeout", || calls(tower_resilience())),
        Contender::new("seatbelt's retry and breaker, tower's timeout", || calls(seatbelt())),
    ]
}

fn layers() -> Vec<Contender> {
    vec![
        Contender::new("bare", bare),
        Contender::new("ours, circuit breaker", || {
            let circuit = CircuitBreakerLayer::new(name!("bench")).handle();
            move |n| _ = black_box(poll_once(circuit.call(|| answer(black_box(n)))).is_ok())
        }),
        Contender::new("ours, bulkhead", || {
            let bulkhead = BulkheadLayer::new(name!("bench")).handle();
            move |n| _ = black_box(poll_once(bulkhead.call(|| answer(black_box(n)))).is_ok())
        }),
        Contender::new("ours, timeout", || {
            let timeout = TimeoutLayer::new(name!("bench")).handle();
            move |n| _ = black_box(poll_once(timeout.call(|| answer(black_box(n)))).is_ok())
        }),
        Contender::new("ours, retry", || {
            let retry = RetryLayer::new(name!("bench")).handle();
            move |n| _ = black_box(poll_once(retry.call(|| answer(black_box(n)))).is_ok())
        }),
        Contender::new("failsafe's circuit breaker", || {
            let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(AN_HOUR));
            let breaker = failsafe::Config::new().failure_policy(policy).build();
            move |n| _ = black_box(poll_once(breaker.call(answer(black_box(n)))).is_ok())
        }),
        Contender::new("recloser's circuit breaker", || {
            let breaker = recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(AN_HOUR).build();
            let breaker = recloser::AsyncRecloser::from(breaker);
            move |n| _ = black_box(poll_once(breaker.call(answer(black_box(n)))).is_ok())
        }),
        Contender::new("tower-resilience's circuit breaker", || calls(resilient_breaker(service_fn(answer)))),
    ]
}

fn resilient_breaker<S>(
    inner: S,
) -> impl Service<u64, Response = u64, Error: std::fmt::Debug, Future: Send> + Clone + Send
where
    S: Service<u64, Response = u64, Error = Failed, Future: Send> + Clone + Send + 'static,
{
    let breaker = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .wait_duration_in_open(AN_HOUR)
        .build();
    breaker.expect("a configuration").layer(inner)
}

fn limited() -> impl Service<u64, Response = u64, Error = Failed, Future: Send> + Clone + Send {
    ServiceBuilder::new().map_err(|_: BoxError| Failed).timeout(Duration::from_secs(1)).service(service_fn(answer))
}

fn tower_resilience() -> impl Service<u64, Response = u64, Future: Send> + Send {
    let protected = ServiceBuilder::new()
        .map_err(|_| Failed)
        .service(resilient_breaker(ServiceBuilder::new().concurrency_limit(100).service(limited())));
    tower_resilience_retry::RetryLayer::builder().max_attempts(3).build().layer(protected)
}

/// Without a limit of calls: it asks no inner service whether that is ready, as tower's limit must be.
fn seatbelt() -> impl Service<u64, Response = u64, Future: Send> + Send {
    let context = seatbelt::ResilienceContext::<u64, Result<u64, Failed>>::new(tick::Clock::new_tokio());
    let breaker = seatbelt::breaker::Breaker::layer("bench", &context)
        .recovery_with(|result, _| is_transient(result))
        .rejected_input(|_, _| Err(Failed))
        .failure_threshold(0.5)
        .break_duration(AN_HOUR)
        .layer(limited());
    seatbelt::retry::Retry::layer("bench", &context)
        .clone_input_with(|n, _| Some(*n))
        .recovery_with(|result, _| is_transient(result))
        .layer(breaker)
}

fn is_transient(result: &Result<u64, Failed>) -> seatbelt::RecoveryInfo {
    if result.is_ok() { seatbelt::RecoveryInfo::never() } else { seatbelt::RecoveryInfo::retry() }
}
