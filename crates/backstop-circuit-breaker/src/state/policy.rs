//! What makes a closed circuit open.
//!
//! Only a failure is ever asked whether it trips. A success can't raise the share of failures; at most it completes
//! `min_calls`, and then the next failure decides.

use super::{Nanos, buckets::Buckets, ring::Ring, word::Word};

/// A share in millionths, so that 7 failures in 100 are 7 %, which binary fractions don't promise.
pub(crate) const SHARE_UNIT: u32 = 1_000_000;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trip {
    /// That many failures without a success between them.
    Consecutive { failures: u32 },
    /// A share of the calls in a window, once there were `min_calls`.
    FailureRate { share: u32, window: Last, min_calls: u32 },
}

/// What a window holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    Calls(u32),
    Time(Nanos),
}

/// A trip policy and what it keeps beside the circuit's word.
#[derive(Debug)]
pub(crate) enum Policy {
    Consecutive {
        failures: u32,
    },
    LastCalls {
        ring: Ring,
        share: u32,
        min_calls: u32,
    },
    /// Boxed, for its size.
    LastTime {
        buckets: Box<Buckets>,
        share: u32,
        min_calls: u32,
    },
}

impl Policy {
    pub(crate) fn new(trip: Trip) -> Self {
        match trip {
            Trip::Consecutive { failures } => Self::Consecutive { failures },
            Trip::FailureRate { share, window: Last::Calls(calls), min_calls } => {
                Self::LastCalls { ring: Ring::new(calls), share, min_calls }
            }
            Trip::FailureRate { share, window: Last::Time(time), min_calls } => {
                Self::LastTime { buckets: Box::new(Buckets::new(time)), share, min_calls }
            }
        }
    }

    /// Whether a circuit whose latest failure is already counted in `word` opens.
    pub(crate) fn trips(&self, word: Word) -> bool {
        let failed = failures(word);
        match self {
            Self::Consecutive { failures } => failed >= *failures,
            Self::LastCalls { share, min_calls, .. } => {
                let calls = self.calls(word);
                calls >= *min_calls && is_share(failed, calls, *share)
            }
            // Counts elsewhere.
            Self::LastTime { .. } => false,
        }
    }

    /// Whether a success leaves a circuit with this word as it is.
    #[inline]
    pub(crate) const fn is_unchanged_by_success(&self, word: Word) -> bool {
        match self {
            Self::Consecutive { .. } => word.count() == 0,
            // A success that replaces a success: the window is the same without it, wherever it begins.
            Self::LastCalls { .. } => word.count() == 0 && word.is_full(),
            Self::LastTime { .. } => false,
        }
    }

    /// How many calls the count of failures in `word` is out of.
    pub(crate) fn calls(&self, word: Word) -> u32 {
        match self {
            Self::Consecutive { .. } => failures(word),
            Self::LastCalls { ring, .. } if word.is_full() => ring.len(),
            Self::LastCalls { .. } => word.position(),
            Self::LastTime { .. } => 0,
        }
    }

    /// The failures that were counted, and the calls that they are out of.
    pub(crate) fn counted(&self, word: Word, now: Nanos) -> (u32, u32) {
        match self {
            Self::Consecutive { .. } | Self::LastCalls { .. } => (failures(word), self.calls(word)),
            Self::LastTime { buckets, .. } => buckets.sum(word.generation(), now),
        }
    }

    pub(crate) const fn ring(&self) -> Option<&Ring> {
        match self {
            Self::LastCalls { ring, .. } => Some(ring),
            Self::Consecutive { .. } | Self::LastTime { .. } => None,
        }
    }
}

/// Whether `part` of `calls` are at least `share`.
pub(super) const fn is_share(part: u32, calls: u32, share: u32) -> bool {
    part as u64 * SHARE_UNIT as u64 >= calls as u64 * share as u64
}

/// The failures counted; below zero, for the moment that this lasts, is none.
pub(crate) fn failures(word: Word) -> u32 {
    word.count().max(0).cast_unsigned()
}
