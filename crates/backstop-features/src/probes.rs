//! Which calls of a feature that isn't on are let through all the same: probes, and a share while it returns.
//!
//! One call may ask several times, from outside in: its handler, a provider's condition, and the layer around a service. A call
//! that was let through outside must be let through inside, too, or its probe would be lost. Without a
//! [`FeatureScopeLayer`](crate::FeatureScopeLayer) nothing connects the two, so whoever is let through leaves one *pass* for each
//! place further in, and the next call that asks there takes it.

use std::{
    sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use backstop_kit::Jitter;

use crate::{
    auto_degrade::{Nanos, Ppm, nanos},
    decision::Decision,
};

/// One call is let through as a probe in 10 s ± 20 %.
const PROBE_SHORTEST: Duration = Duration::from_secs(8);
const PROBE_LONGEST: Duration = Duration::from_secs(12);
/// The first one may come earlier, so that a fleet that shed a feature at once doesn't probe at once. But not immediately:
/// whatever made the feature unusable has only just happened.
const FIRST_PROBE_SHORTEST: Duration = Duration::from_secs(2);
/// A bound, because a call that was let through outside may never ask further in.
const MOST_PASSES: u32 = 16;

/// Where a call asks, from outside in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Handler,
    Condition,
    Layer,
}

/// What lets calls through. Without locks.
#[derive(Debug)]
pub(crate) struct Probes {
    /// When the next call is let through as a probe. `Nanos::MAX` while none is.
    next_probe: AtomicU64,
    /// The share of the calls that is let through.
    share: AtomicU32,
    /// By [`Place`].
    passes: [AtomicU32; 3],
    jitter: Jitter,
}

impl Probes {
    pub(crate) fn new() -> Self {
        Self {
            next_probe: AtomicU64::new(Nanos::MAX),
            share: AtomicU32::new(0),
            passes: [const { AtomicU32::new(0) }; 3],
            jitter: Jitter::new(None),
        }
    }

    /// Follows a decision.
    pub(crate) fn follow(&self, now: Nanos, before: &Decision, after: &Decision) {
        self.share.store(after.share.unwrap_or(0), Relaxed);
        if !after.cause.is_probed() {
            self.next_probe.store(Nanos::MAX, Relaxed);
        } else if !before.cause.is_probed() {
            let first = self.jitter.time(FIRST_PROBE_SHORTEST..=PROBE_LONGEST);
            self.next_probe.store(now.saturating_add(nanos(first)), Relaxed);
        }
        if before.cause != after.cause {
            self.passes.iter().for_each(|passes| passes.store(0, Relaxed));
        }
    }

    /// Whether a call is let through.
    pub(crate) fn let_through(&self, now: Nanos, place: Place) -> bool {
        let (here, further_in) = (&self.passes[place as usize], &self.passes[place as usize + 1..]);
        if here.fetch_update(Relaxed, Relaxed, |passes| passes.checked_sub(1)).is_ok() {
            return true;
        }
        if !(self.is_in_share() || self.take_probe(now)) {
            return false;
        }
        for passes in further_in {
            _ = passes.fetch_update(Relaxed, Relaxed, |passes| (passes < MOST_PASSES).then_some(passes + 1));
        }
        true
    }

    fn is_in_share(&self) -> bool {
        let share: Ppm = self.share.load(Relaxed);
        share > 0 && self.jitter.number(0..1_000_000) < u64::from(share)
    }

    /// Takes the probe, if it is due. Of several callers, one gets it.
    fn take_probe(&self, now: Nanos) -> bool {
        let due = self.next_probe.load(Relaxed);
        if now < due {
            return false;
        }
        let next = now.saturating_add(nanos(self.jitter.time(PROBE_SHORTEST..=PROBE_LONGEST)));
        self.next_probe.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }
}
