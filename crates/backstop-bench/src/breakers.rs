//! The circuit breakers.

use std::{
    future::{Ready, ready},
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use backstop::{CircuitBreakerLayer, ErrorRef, Outcome, Rejection};
use failsafe::futures::CircuitBreaker as _;
use tower::{Layer, Service};

use crate::measure::Contender;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Failed;

impl From<Rejection> for Failed {
    fn from(_: Rejection) -> Self {
        Self
    }
}

/// Fails `percent` of the calls, spread evenly, so that no three in a row fail.
#[derive(Clone, Copy)]
struct Inner {
    percent: u64,
}

impl Inner {
    #[inline(never)]
    fn answer(self, n: u64) -> Ready<Result<u64, Failed>> {
        ready(if n % 100 < self.percent { Err(Failed) } else { Ok(black_box(n)) })
    }
}

impl Service<u64> for Inner {
    type Response = u64;
    type Error = Failed;
    type Future = Ready<Result<u64, Failed>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, n: u64) -> Self::Future {
        self.answer(n)
    }
}

fn poll_once<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("the service is ready at once"),
    }
}

fn service<S: Service<u64> + 'static>(name: &'static str, mut service: S) -> Contender {
    let call = move |n| {
        let Poll::Ready(ready) = service.poll_ready(&mut Context::from_waker(Waker::noop())) else {
            unreachable!("the service is ready at once")
        };
        if ready.is_ok() {
            _ = black_box(poll_once(service.call(black_box(n))).is_ok());
        }
    };
    Contender { name, call: Box::new(call) }
}

fn judge(result: Result<&u64, ErrorRef<'_>>) -> Outcome {
    if result.is_ok() { Outcome::success() } else { Outcome::failure() }
}

fn ours(build: impl FnOnce(Builder) -> Builder, inner: Inner) -> impl Service<u64> {
    let layer = build(CircuitBreakerLayer::builder("bench")).classify_fn(judge).reject_as_error().build();
    layer.unwrap_or_else(|error| unreachable!("{error}")).layer(inner)
}

type Builder = backstop::CircuitBreakerBuilder;

const SLOW: Duration = Duration::from_secs(1);
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Circuits that stay closed.
pub(crate) fn closed(percent: u64) -> Vec<Contender> {
    let inner = Inner { percent };
    let rate = |calls: u32| move |builder: Builder| builder.failure_rate(0.5).window(calls);
    vec![
        service("bare", inner),
        service("ours", ours(|builder| builder.consecutive_failures(5), inner)),
        service("ours, last 100", ours(rate(100), inner)),
        service("ours, last 65,536", ours(rate(65_536), inner)),
        service("ours, last 100 + slow calls", ours(move |builder| rate(100)(builder).slow_calls(SLOW, 0.5), inner)),
        service("ours, last 10 s", ours(|builder| builder.failure_rate(0.5).window(TEN_SECONDS), inner)),
        service("tower-resilience, last 100", tower_resilience(inner)),
        service("seatbelt", seatbelt(inner)),
        failsafe(inner),
        recloser(inner),
    ]
}

/// Circuits that refuse.
pub(crate) fn open() -> Vec<Contender> {
    let mut contenders = closed(100);
    // The bare service can't refuse: it stays the base.
    for contender in &mut contenders {
        (0..1000).for_each(&mut contender.call);
    }
    contenders
}

fn tower_resilience(inner: Inner) -> impl Service<u64> {
    let layer = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .failure_rate_threshold(0.5)
        .sliding_window_size(100)
        .wait_duration_in_open(Duration::from_secs(3600))
        .build();
    layer.unwrap_or_else(|error| unreachable!("{error}")).layer(inner)
}

fn seatbelt(inner: Inner) -> impl Service<u64> {
    let context = seatbelt::ResilienceContext::<u64, Result<u64, Failed>>::new(tick::Clock::new_tokio());
    seatbelt::breaker::Breaker::layer("bench", &context)
        .recovery_with(|result: &Result<u64, Failed>, _| match result {
            Ok(_) => seatbelt::RecoveryInfo::never(),
            Err(_) => seatbelt::RecoveryInfo::retry(),
        })
        .rejected_input(|_, _| Err(Failed))
        .failure_threshold(0.5)
        .break_duration(Duration::from_secs(3600))
        .layer(inner)
}

fn failsafe(inner: Inner) -> Contender {
    let backoff = failsafe::backoff::constant(Duration::from_secs(3600));
    let policy = failsafe::failure_policy::consecutive_failures(5, backoff);
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    let call = move |n| _ = black_box(poll_once(breaker.call(inner.answer(black_box(n)))).is_ok());
    Contender { name: "failsafe, consecutive", call: Box::new(call) }
}

fn recloser(inner: Inner) -> Contender {
    let breaker =
        recloser::Recloser::custom().error_rate(0.5).closed_len(100).open_wait(Duration::from_secs(3600)).build();
    let breaker = recloser::AsyncRecloser::from(breaker);
    let call = move |n| _ = black_box(poll_once(breaker.call(inner.answer(black_box(n)))).is_ok());
    Contender { name: "recloser, last 100", call: Box::new(call) }
}
