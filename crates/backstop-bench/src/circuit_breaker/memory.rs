//! What a circuit keeps allocated.

use std::mem;

use backstop::{CircuitBreakerBuilder, CircuitBreakerLayer};
use tower::Layer;

use super::{Inner, TEN_SECONDS, consecutive, judge, last, ours, peers};
use crate::{
    call::calls,
    measure::{Contender, Table},
};

/// So many circuits, or so many keys.
const CIRCUITS: u32 = 10_000;

pub(super) const TABLE: Table = Table::new("Bytes a circuit, no subscribers", contenders).of_bytes(CIRCUITS as u64);

fn contenders() -> Vec<Contender> {
    let healthy = Inner { percent: 0 };
    let failing = Inner { percent: 100 };
    let a_key = "90, with the key of 8 bytes 98";
    vec![
        circuits("ours, consecutive failures", move || ours(consecutive, healthy)),
        circuits("ours, last 100 calls", move || ours(last(100), healthy)).target("256"),
        circuits("ours, last 10 s", move || ours(last(TEN_SECONDS), healthy)),
        circuits("tower-resilience, last 100 calls", move || peers::tower_resilience(healthy)),
        circuits("seatbelt", move || peers::seatbelt(healthy)),
        circuits("failsafe, consecutive failures", move || peers::failsafe(healthy)),
        circuits("recloser, last 100 calls", move || peers::recloser(healthy)),
        keys("ours, keyed, consecutive failures", consecutive, healthy).target(a_key),
        keys("ours, keyed, consecutive failures, each key has failed", consecutive, failing).target(a_key),
        keys("ours, keyed, last 10 calls", last(10), healthy),
    ]
}

/// Each call makes a circuit.
fn circuits<S>(name: &'static str, make: impl Fn() -> S + Send + 'static) -> Contender {
    Contender::new(name, || move |_| mem::forget(make())).warm_up(0)
}

/// Each call has a key of its own.
fn keys(
    name: &'static str,
    build: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder + 'static,
    inner: Inner,
) -> Contender {
    let make = move || {
        let builder = build(CircuitBreakerLayer::builder("bench")).plain().classify_fn(judge);
        calls(builder.build_keyed(CIRCUITS, |&n: &u64| n).expect("a configuration").layer(inner))
    };
    Contender::new(name, make).warm_up(0)
}
