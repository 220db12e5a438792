//! What a standard stack is made of.

use tower_layer::Identity;

use super::optional::Optional;
use crate::{BulkheadLayer, CircuitBreakerLayer, PropagateDeadlineLayer, RetryLayer, TimeoutLayer};

/// The parts of a [`Standard`](super::Standard), by type: from outside to inside `K`, `R`, `C`, `B`, `T`, `D`.
///
/// The defaults are the types of a [standard stack](super::standard()). Choices that change a part's type, such as a
/// classifier, appear here.
#[derive(Clone, Copy, Debug)]
pub struct Parts<
    R = Optional<RetryLayer>,
    C = Optional<CircuitBreakerLayer>,
    B = Optional<BulkheadLayer>,
    T = Optional<TimeoutLayer>,
    D = Optional<PropagateDeadlineLayer>,
    K = Identity,
> {
    pub(crate) retry: R,
    pub(crate) circuit_breaker: C,
    pub(crate) bulkhead: B,
    pub(crate) timeout: T,
    pub(crate) propagate_deadline: D,
    /// The last known good answer's layer, or nothing.
    pub(crate) last_known_good: K,
}

/// Defines the method that passes one part through a closure, which may change the part's type.
macro_rules! map_part {
    ($method:ident, $part:ident: $Part:ident -> $Changed:ty; $($other:ident),+) => {
        pub(super) fn $method<X>(self, change: impl FnOnce($Part) -> X) -> $Changed {
            let Self { $part, $($other),+ } = self;
            Parts { $part: change($part), $($other),+ }
        }
    };
}

impl<R, C, B, T, D, K> Parts<R, C, B, T, D, K> {
    map_part!(map_retry, retry: R -> Parts<X, C, B, T, D, K>;
        circuit_breaker, bulkhead, timeout, propagate_deadline, last_known_good);
    map_part!(map_circuit_breaker, circuit_breaker: C -> Parts<R, X, B, T, D, K>;
        retry, bulkhead, timeout, propagate_deadline, last_known_good);
    map_part!(map_bulkhead, bulkhead: B -> Parts<R, C, X, T, D, K>;
        retry, circuit_breaker, timeout, propagate_deadline, last_known_good);
    map_part!(map_timeout, timeout: T -> Parts<R, C, B, X, D, K>;
        retry, circuit_breaker, bulkhead, propagate_deadline, last_known_good);
    map_part!(map_propagate_deadline, propagate_deadline: D -> Parts<R, C, B, T, X, K>;
        retry, circuit_breaker, bulkhead, timeout, last_known_good);
    #[cfg(feature = "last-known-good")]
    map_part!(map_last_known_good, last_known_good: K -> Parts<R, C, B, T, D, X>;
        retry, circuit_breaker, bulkhead, timeout, propagate_deadline);
}
