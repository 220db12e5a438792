//! The slow calls in a window.
//!
//! Failures and slow calls share a window. If it is the last N calls, they share its ring. The number of slow calls is in
//! another word, because the circuit's has no room for it. So the slow call that trips is counted first. Then it opens the
//! circuit under the lock, if the generation hasn't ended and the share is still reached.

use super::{Nanos, buckets::Buckets, count::Count, packed_state::Generation};

#[derive(Debug)]
pub(super) enum SlowCalls {
    /// The number of slow calls in the ring.
    LastCalls(Count),
    LastTime(Box<Buckets>),
}

impl SlowCalls {
    /// Whether a call that isn't slow changes nothing, if the ring is full.
    #[inline]
    pub(super) fn is_unchanged_by_quick_call(&self) -> bool {
        match self {
            Self::LastCalls(count) => count.is_zero(),
            Self::LastTime(_) => false,
        }
    }

    /// Counts a call in a time window.
    pub(super) fn add_by_time(&self, generation: Generation, slow: bool, now: impl Fn() -> Nanos) {
        if let Self::LastTime(buckets) = self {
            buckets.add(generation, now(), slow);
        }
    }

    /// Starts a generation. Called under the lock, before the circuit's own word is published.
    pub(super) fn renew(&self, generation: Generation) {
        if let Self::LastCalls(count) = self {
            count.renew(generation);
        }
    }
}
