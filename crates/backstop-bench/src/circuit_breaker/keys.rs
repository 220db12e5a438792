//! One circuit a key: what finding it costs.

use backstop::{CircuitBreakerBuilder, CircuitBreakerLayer};
use tower::Layer;

use super::{Inner, consecutive, judge, last, ours};
use crate::{
    call::calls,
    measure::{Contender, Table},
};

pub(super) const TABLE: Table = Table::new("Keyed, no failures", contenders).led_by(20_000);

fn contenders() -> Vec<Contender> {
    let inner = Inner { percent: 0 };
    vec![
        Contender::new("bare", move || calls(inner)),
        Contender::new("ours, without keys", move || calls(ours(consecutive, inner))),
        keyed("ours, 10 keys", 10, consecutive).target("without keys + 20 ns"),
        keyed("ours, 10,000 keys", 10_000, consecutive).target("without keys + 40 ns"),
        keyed("ours, 1,000,000 keys", 1_000_000, consecutive).target("without keys + 350 ns").uncounted(),
        keyed("ours, last 10 calls, 10 keys", 10, last(10)),
        keyed("ours, last 10 calls, 10,000 keys", 10_000, last(10)),
    ]
}

fn keyed(
    name: &'static str,
    keys: u32,
    build: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder + 'static,
) -> Contender {
    let make = move || {
        let builder = build(CircuitBreakerLayer::builder("bench")).plain().classify_fn(judge);
        let layer = builder.build_keyed(keys, move |&n: &u64| scattered(n) % u64::from(keys));
        calls(layer.expect("a configuration").layer(Inner { percent: 0 }))
    };
    Contender::new(name, make).warm_up(10 * u64::from(keys))
}

/// Numbers in no order that a cache could guess.
fn scattered(n: u64) -> u64 {
    n.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 24
}
