//! What circuits are told, and may be told anew while calls run.
//!
//! None of this is part of the protocol, so it uses the standard library's atomics and lock under the model checker, too:
//! whatever a result finds here was true a moment ago.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use super::{Nanos, SHARE_UNIT, Settings, Trip};

/// Shared by all circuits of a layer. What isn't here, windows, each circuit has for itself.
#[derive(Debug)]
pub(crate) struct Knobs {
    /// When failures open a circuit.
    pub(super) failures: Limit,
    /// When slow calls do.
    pub(super) slow: Limit,
    /// Never locked for longer than a copy takes.
    recovery: Mutex<RecoveryRule>,
    seed: Option<u64>,
}

/// How a circuit gets from open to closed again. Only transitions and probes ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecoveryRule {
    pub(super) first_wait: Nanos,
    /// The same as the first where the wait is fixed.
    pub(super) max_wait: Nanos,
    pub(super) probe_lease: Nanos,
    /// The share of a wait that it may be stretched by. In single precision, for its size.
    pub(super) wait_jitter: f32,
    pub(super) success_threshold: u32,
    pub(super) max_concurrent_probes: u32,
}

impl Knobs {
    pub(crate) fn new(settings: &Settings) -> Self {
        let (failures, slow) = limits(settings);
        Self {
            failures: Limit(AtomicU64::new(failures)),
            slow: Limit(AtomicU64::new(slow)),
            recovery: Mutex::new(settings.into()),
            seed: settings.wait.seed,
        }
    }

    /// Changes all but the seed.
    pub(crate) fn set(&self, settings: &Settings) {
        let (failures, slow) = limits(settings);
        self.failures.0.store(failures, Relaxed);
        self.slow.0.store(slow, Relaxed);
        *self.lock() = settings.into();
    }

    pub(super) fn recovery(&self) -> RecoveryRule {
        *self.lock()
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
            wait_jitter: wait.jitter as f32,
            success_threshold,
            max_concurrent_probes,
        }
    }
}

/// From which share of how many calls on a circuit opens. One word, so that both change at once.
#[derive(Debug)]
pub(super) struct Limit(AtomicU64);

impl Limit {
    /// Whether `part` of `calls` are enough.
    pub(super) fn is_reached(&self, part: u32, calls: u32) -> bool {
        let limit = self.0.load(Relaxed);
        let (share, min_calls) = (limit >> 32, limit & u64::from(u32::MAX));
        u64::from(calls) >= min_calls && u64::from(part) * u64::from(SHARE_UNIT) >= u64::from(calls) * share
    }
}

/// Those of failures, and of slow calls.
fn limits(settings: &Settings) -> (u64, u64) {
    let limit = |share, min_calls| u64::from(share) << 32 | u64::from(min_calls);
    let failures = match settings.trip {
        // All of so many.
        Trip::Consecutive { failures } => limit(SHARE_UNIT, failures),
        Trip::FailureRate { share, min_calls, .. } => limit(share, min_calls),
    };
    (failures, settings.slow.map_or(0, |slow| limit(slow.share, slow.min_calls)))
}
