//! The settings that a reload changes while calls run.
//!
//! They aren't part of the protocol: any value that was valid a moment ago is fine. So they use the standard library's atomics
//! and lock under the model checker, too.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{
    Nanos, Share,
    packed_state::MAX_CALLS,
    settings::{RampRule, Settings},
};

/// Shared by all circuits of a layer. Windows aren't included, because each circuit has its own.
#[derive(Debug)]
pub(crate) struct SharedSettings {
    /// When failures in a row open a circuit: all of so many.
    pub(super) in_a_row: Limit,
    /// When a share of failures opens a circuit.
    pub(super) failure_rate: Limit,
    /// When slow calls open a circuit.
    pub(super) slow: Limit,
    /// Locked only for a copy.
    recovery: Mutex<RecoveryRule>,
    seed: Option<u64>,
}

/// How a circuit closes again. Read only by transitions and probes.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecoveryRule {
    pub(super) first_wait: Nanos,
    /// Equal to `first_wait` if the wait is fixed.
    pub(super) max_wait: Nanos,
    pub(super) probe_lease: Nanos,
    /// The share of a wait that jitter adds at most.
    pub(super) wait_jitter: f64,
    pub(super) success_threshold: u32,
    pub(super) max_concurrent_probes: u32,
    pub(super) ramp: RampRule,
}

impl SharedSettings {
    pub(crate) fn new(settings: &Settings) -> Self {
        let limits = limits(settings).map(|limit| Limit(AtomicU64::new(limit.unwrap_or(UNUSED))));
        let [in_a_row, failure_rate, slow] = limits;
        Self { in_a_row, failure_rate, slow, recovery: Mutex::new(settings.into()), seed: settings.wait.seed }
    }

    /// Changes everything except the seed.
    pub(crate) fn set(&self, settings: &Settings) {
        let limits = [&self.in_a_row, &self.failure_rate, &self.slow].into_iter().zip(limits(settings));
        // Without a new limit, a call that is being counted now still uses the old one.
        limits.filter_map(|(limit, new)| Some((limit, new?))).for_each(|(limit, new)| limit.0.store(new, Relaxed));
        *self.lock() = settings.into();
    }

    pub(super) fn recovery(&self) -> RecoveryRule {
        *self.lock()
    }

    pub(crate) fn first_wait(&self) -> Nanos {
        self.lock().first_wait
    }

    pub(super) const fn seed(&self) -> Option<u64> {
        self.seed
    }

    fn lock(&self) -> MutexGuard<'_, RecoveryRule> {
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<&Settings> for RecoveryRule {
    fn from(settings: &Settings) -> Self {
        let Settings { wait, success_threshold, max_concurrent_probes, probe_lease, ramp, .. } = *settings;
        Self {
            first_wait: wait.first,
            max_wait: wait.max,
            probe_lease,
            wait_jitter: wait.jitter,
            success_threshold,
            max_concurrent_probes,
            ramp,
        }
    }
}

/// The share of failed or slow calls that opens a circuit, and the minimum of calls. One word, so that both change at once.
#[derive(Debug)]
pub(super) struct Limit(AtomicU64);

impl Limit {
    /// Whether `part` of `calls` opens the circuit.
    pub(super) fn is_reached(&self, part: u32, calls: u32) -> bool {
        let limit = self.0.load(Relaxed);
        let (share, min_calls) = (Share::from_bits(limit >> MIN_CALLS_BITS), (limit & MIN_CALLS) + 1);
        u64::from(calls) >= min_calls && share.is_reached(part, calls)
    }
}

/// Holds the number minus 1, because [`MAX_CALLS`] would need one bit more.
const MIN_CALLS: u64 = (1 << MIN_CALLS_BITS) - 1;
const MIN_CALLS_BITS: u32 = u64::BITS - Share::BITS;

/// Of what doesn't open circuits.
const UNUSED: u64 = limit(Share::new(1.0), MAX_CALLS);

const fn limit(share: Share, min_calls: u32) -> u64 {
    share.bits() << MIN_CALLS_BITS | (min_calls - 1) as u64
}

/// The limits of failures in a row, of the share of failures, and of slow calls, as far as they count.
fn limits(settings: &Settings) -> [Option<u64>; 3] {
    [
        settings.trip.in_a_row().map(|failures| limit(Share::new(1.0), failures)),
        settings.trip.rate().map(|(share, min_calls)| limit(share, min_calls)),
        settings.slow.map(|slow| limit(slow.share, slow.min_calls)),
    ]
}
