//! The peers, configured as ours are.

use failsafe::futures::CircuitBreaker as _;
use tower::{Layer, Service, service_fn};

use super::{
    AN_HOUR,
    service::{Failed, Inner},
};
pub(super) fn tower_resilience(inner: Inner) -> impl Service<u64, Future: Send> + Clone + Send {
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .wait_duration_in_open(AN_HOUR)
        .build();
    layer.expect("a configuration").layer(inner)
}

pub(super) fn seatbelt(inner: Inner) -> impl Service<u64, Future: Send> + Clone + Send {
    let context = seatbelt::ResilienceContext::<u64, Result<u64, Failed>>::new(tick::Clock::new_tokio());
    seatbelt::breaker::Breaker::layer("bench", &context)
        .recovery_with(|result: &Result<u64, Failed>, _| match result {
            Ok(_) => seatbelt::RecoveryInfo::never(),
            Err(_) => seatbelt::RecoveryInfo::retry(),
        })
        .rejected_input(|_, _| Err(Failed))
        .failure_threshold(0.5)
        .break_duration(AN_HOUR)
        .layer(inner)
}

pub(super) fn failsafe(inner: Inner) -> impl Service<u64, Future: Send> + Clone + Send {
    let policy = failsafe::failure_policy::consecutive_failures(5, failsafe::backoff::constant(AN_HOUR));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    service_fn(move |n| breaker.call(inner.answer(n)))
}

pub(super) fn recloser(inner: Inner) -> impl Service<u64, Future: Send> + Clone + Send {
    let breaker = recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(AN_HOUR).build();
    let breaker = recloser::AsyncRecloser::from(breaker);
    service_fn(move |n| breaker.call(inner.answer(n)))
}
