//! What a circuit keeps allocated.

use backstop::{CircuitBreakerBuilder, CircuitBreakerLayer};
use tower::{Layer, Service};

use super::{Inner, TEN_SECONDS, consecutive, judge, last, ours, peers};
use crate::{
    call::{is_ready, poll_once},
    measure::{held_bytes, print_table},
};

const CIRCUITS: usize = 1_000;
const KEYS: u32 = 10_000;

pub(super) fn print() {
    let inner = Inner { percent: 0 };
    let row = |name: &str, bytes: f64, target: &str| vec![name.to_owned(), format!("{bytes:.0}"), target.to_owned()];
    let beside_the_key = "90 beside the key";
    print_table(
        "Memory, no subscribers",
        &["", "bytes a circuit", "target"],
        &[
            row("ours, consecutive failures", circuit(|| ours(consecutive, inner)), ""),
            row("ours, last 100 calls", circuit(|| ours(last(100), inner)), "256"),
            row("ours, last 10 s", circuit(|| ours(last(TEN_SECONDS), inner)), ""),
            row("tower-resilience, last 100 calls", circuit(|| peers::tower_resilience(inner)), ""),
            row("seatbelt", circuit(|| peers::seatbelt(inner)), ""),
            row("failsafe, consecutive failures", circuit(|| peers::failsafe(inner)), ""),
            row("recloser, last 100 calls", circuit(|| peers::recloser(inner)), ""),
            row("ours, keyed, consecutive failures, healthy", key(0, consecutive), beside_the_key),
            row("ours, keyed, consecutive failures, each key failed once", key(100, consecutive), beside_the_key),
            row("ours, keyed, last 10 calls", key(0, last(10)), ""),
        ],
    );
}

/// The bytes that one of many circuits keeps.
fn circuit<S>(make: impl Fn() -> S) -> f64 {
    let mut circuits = Vec::with_capacity(CIRCUITS);
    let bytes = held_bytes(|| circuits.extend((0..CIRCUITS).map(|_| make())));
    bytes as f64 / CIRCUITS as f64
}

/// The bytes beside the key that one of many keys takes, after a call each, of which `percent` failed.
fn key(percent: u64, build: impl FnOnce(CircuitBreakerBuilder) -> CircuitBreakerBuilder) -> f64 {
    let builder = build(CircuitBreakerLayer::builder("bench")).classify_fn(judge).reject_as_error();
    let layer = builder.build_keyed(KEYS, |&n: &u64| n).expect("a configuration");
    let mut service = layer.layer(Inner { percent });
    let bytes = held_bytes(|| {
        for n in 0..u64::from(KEYS) {
            if is_ready(&mut service) {
                _ = poll_once(service.call(n));
            }
        }
    });
    bytes as f64 / f64::from(KEYS) - size_of::<u64>() as f64
}
