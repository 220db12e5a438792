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
    settings::{Settings, Trip},
};

/// Shared by all circuits of a layer. Windows aren't included, because each circuit has its own.
#[derive(Debug)]
pub(crate) struct SharedSettings {
    /// When failures open a circuit.
    pub(super) failures: Limit,
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
}

impl SharedSettings {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (failures, slow) = limits(settings);
        Self {
            failures: Limit(AtomicU64::new(failures)),
            slow: Limit(AtomicU64::new(slow.unwrap_or_else(|| limit(Share::new(1.0), MAX_CALLS)))),
            recovery: Mutex::new(settings.into()),
            seed: settings.wait.seed,
        }
    }

    /// Changes everything except the seed.
    pub(crate) fn set(&self, settings: &Settings) {
        let (failures, slow) = limits(settings);
        self.failures.0.store(failures, Relaxed);
        // If slow calls no longer count, a slow call that is being counted now still uses the old limit.
        if let Some(slow) = slow {
            self.slow.0.store(slow, Relaxed);
        }
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
        let Settings { wait, success_threshold, max_concurrent_probes, probe_lease, .. } = *settings;
        Self {
            first_wait: wait.first,
            max_wait: wait.max,
            probe_lease,
            wait_jitter: wait.jitter,
            success_threshold,
            max_concurrent_probes,
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

fn limit(share: Share, min_calls: u32) -> u64 {
    share.bits() << MIN_CALLS_BITS | u64::from(min_calls - 1)
}

/// The limits of failures, and of slow calls if they count.
fn limits(settings: &Settings) -> (u64, Option<u64>) {
    let failures = match settings.trip {
        // All of this many calls.
        Trip::Consecutive { failures } => limit(Share::new(1.0), failures),
        Trip::FailureRate { share, min_calls, .. } => limit(share, min_calls),
    };
    (failures, settings.slow.map(|slow| limit(slow.share, slow.min_calls)))
}
