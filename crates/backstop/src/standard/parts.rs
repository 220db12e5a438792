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
