//! The circuit breaker, and its peers: tower-resilience and seatbelt are layers, failsafe and recloser wrap a future.

mod keys;
mod memory;
mod peers;
mod service;
mod threads;

use std::{hint::black_box, time::Duration};

use backstop::{
    CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, ErrorRef, Outcome,
    circuit_breaker::{Recovery, Window},
};
use tower::{Layer, Service};

use self::service::{Failed, Inner};
use crate::{
    call::calls,
    measure::{Contender, Section, Table},
};

pub(crate) const SECTION: Section = Section {
    name: "circuit-breaker",
    tables: &[
        Table::new("Closed, no failures", || closed(0)),
        Table::new("Closed, 1 % failures", || closed(1)),
        Table::new("Open", open),
        Table::new("Recovering by a ramp", recovering),
        keys::TABLE,
        memory::TABLE,
    ],
    others: &[threads::print],
};

const TEN_SECONDS: Duration = Duration::from_secs(10);
const AN_HOUR: Duration = Duration::from_secs(3600);

fn consecutive(builder: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    builder.consecutive_failures(5)
}

fn last(window: impl Into<Window>) -> impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    move |builder| builder.failure_rate(0.5).window(window)
}

fn with_slow_calls(builder: CircuitBreakerBuilder) -> CircuitBreakerBuilder {
    last(100)(builder).slow_calls(Duration::from_secs(1), 0.5)
}

fn ours(
    build: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder,
    inner: Inner,
) -> impl Service<u64, Error = Failed, Future: Send> + Clone + Send {
    let layer = build(CircuitBreakerLayer::builder("bench").wait(AN_HOUR)).plain().classify_fn(judge).build();
    layer.expect("a configuration").layer(inner)
}

fn judge(result: Result<&u64, ErrorRef<'_>>) -> Outcome {
    if result.is_ok() { Outcome::success() } else { Outcome::failure() }
}

/// Circuits that stay closed.
fn closed(percent: u64) -> Vec<Contender> {
    let by_consecutive = "13 ns, 60 instructions, 0 allocations";
    let by_calls =
        if percent == 0 { "14 ns, 75 instructions, 0 allocations" } else { "20 ns, 125 instructions, 0 allocations" };
    let by_time = "one clock read + 20 ns, 0.45 × seatbelt";
    let inner = Inner { percent };
    vec![
        Contender::new("bare", move || calls(inner)),
        Contender::new("ours, consecutive failures", move || calls(ours(consecutive, inner))).target(by_consecutive),
        Contender::new("ours, last 10 calls", move || calls(ours(last(10), inner))).target(by_calls),
        Contender::new("ours, last 100 calls", move || calls(ours(last(100), inner))).target(by_calls),
        Contender::new("ours, last 65,536 calls", move || calls(ours(last(65_536), inner)))
            .target(by_calls)
            .warm_up(70_000),
        Contender::new("ours, last 100 and slow calls", move || calls(ours(with_slow_calls, inner)))
            .target("last 100 + 1 ns"),
        Contender::new("ours, last 10 s", move || calls(ours(last(TEN_SECONDS), inner))).target(by_time),
        Contender::new("ours, last hour", move || calls(ours(last(AN_HOUR), inner))).target(by_time),
        Contender::new("one clock read", clock),
        Contender::new("tower-resilience, last 100 calls", move || calls(peers::tower_resilience(inner)))
            .target("at least 15 × ours"),
        Contender::new("seatbelt", move || calls(peers::seatbelt(inner))).target("at least 8 × ours"),
        Contender::new("failsafe, consecutive failures", move || calls(peers::failsafe(inner))),
        Contender::new("recloser, last 100 calls", move || calls(peers::recloser(inner))),
    ]
}

/// Circuits that refuse. The bare service can't: it stays the base.
fn open() -> Vec<Contender> {
    let target = "one clock read + 3 ns, 0 allocations";
    let inner = Inner { percent: 100 };
    vec![
        Contender::new("bare", move || calls(inner)),
        Contender::new("ours, consecutive failures", move || calls(ours(consecutive, inner))).target(target),
        Contender::new("ours, last 100 calls", move || calls(ours(last(100), inner))).target(target),
        Contender::new("ours, last 10 s", move || calls(ours(last(TEN_SECONDS), inner))).target(target),
        Contender::new("one clock read", clock),
        Contender::new("tower-resilience, last 100 calls", move || calls(peers::tower_resilience(inner)))
            .target("at least 5 × ours"),
        Contender::new("seatbelt", move || calls(peers::seatbelt(inner))),
        Contender::new("failsafe, consecutive failures", move || calls(peers::failsafe(inner))),
        Contender::new("recloser, last 100 calls", move || calls(peers::recloser(inner))),
    ]
}

/// Circuits in a ramp whose only step admits nearly every call, and a quarter of them. A minute of it is enough.
fn recovering() -> Vec<Contender> {
    let inner = Inner { percent: 0 };
    vec![
        Contender::new("bare", move || calls(inner)),
        Contender::new("ours, closed", move || calls(ours(last(100), inner))),
        Contender::new("ours, admitted by a ramp", || calls(ramping(0.999_999)))
            .target("closed + 2 ns, a decision 5 ns"),
        Contender::new("ours, a ramp of 25 %", || calls(ramping(0.25))),
        Contender::new("one clock read", clock),
    ]
}

fn ramping(share: f64) -> impl Service<u64, Error = Failed, Future: Send> + Clone + Send {
    let wait = Duration::from_millis(1);
    let recovery = Recovery::ramp([share]).each(Duration::from_secs(60));
    let builder = CircuitBreakerLayer::builder("bench").consecutive_failures(1).wait(wait).success_threshold(1);
    let layer = builder.recovery(recovery).plain().classify_fn(judge).build().expect("a configuration");
    calls(layer.layer(Inner { percent: 100 }))(0);
    #[expect(clippy::disallowed_methods, reason = "nothing else runs")]
    std::thread::sleep(2 * wait);
    calls(layer.layer(Inner { percent: 0 }))(0);
    assert_eq!(layer.handle().state(), CircuitState::Recovering);
    layer.layer(Inner { percent: 0 })
}

/// What a circuit that knows the time can't do without.
fn clock() -> impl FnMut(u64) + Send + 'static {
    |_| _ = black_box(tokio::time::Instant::now())
}
