//! Which calls of a feature that isn't on are let through all the same: probes, and a share while it returns.
//!
//! One call may ask several times, from outside in: its handler, a provider's condition, and the layer around a service. A call
//! that was let through outside must be let through inside, too, or its probe would be lost. Without a
//! [`FeatureScopeLayer`](crate::FeatureScopeLayer) nothing connects the two, so a call that is let through leaves one *pass* for each
//! place further in, and the next call that asks there takes it. A pass of a probe ends when the next probe is due.
//!
//! Without that layer, a call that wasn't in the share draws again at the next place. So a handler that ignores the answer and goes
//! on to a condition or a layer lets more calls through than the share.

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
/// How many passes the share leaves at most, because a call that was let through outside may never ask further in.
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
        if (before.cause, before.share) != (after.cause, after.share) {
            self.passes.iter().for_each(|passes| passes.store(0, Relaxed));
        }
    }

    /// Whether calls are let through at all.
    pub(crate) fn let_some_through(&self) -> bool {
        self.share.load(Relaxed) > 0 || self.next_probe.load(Relaxed) != Nanos::MAX
    }

    /// Whether a call is let through.
    pub(crate) fn let_through(&self, now: Nanos, place: Place) -> bool {
        let (share, due) = (self.share.load(Relaxed), self.next_probe.load(Relaxed));
        // Also if a call that was let through before has left its passes only now.
        if share == 0 && due == Nanos::MAX {
            return false;
        }
        if now >= due {
            return self.take_probe(now, due, place);
        }
        let take = |passes: u32| passes.checked_sub(1);
        self.passes[place as usize].fetch_update(Relaxed, Relaxed, take).is_ok() || self.is_in_share(share, place)
    }

    fn is_in_share(&self, share: Ppm, place: Place) -> bool {
        let is_in_share = share > 0 && self.jitter.number(0..1_000_000) < u64::from(share);
        if is_in_share {
            let add = |passes: u32| (passes < MOST_PASSES).then_some(passes + 1);
            self.passes[place as usize + 1..].iter().for_each(|passes| _ = passes.fetch_update(Relaxed, Relaxed, add));
        }
        is_in_share
    }

    /// Takes the probe, which is due. Of several callers, one gets it. Passes of earlier probes end.
    fn take_probe(&self, now: Nanos, due: Nanos, place: Place) -> bool {
        let next = now.saturating_add(nanos(self.jitter.time(PROBE_SHORTEST..=PROBE_LONGEST)));
        let is_taken = self.next_probe.compare_exchange(due, next, Relaxed, Relaxed).is_ok();
        if is_taken {
            let passes = self.passes.iter().enumerate();
            passes.for_each(|(at, passes)| passes.store(u32::from(at > place as usize), Relaxed));
        }
        is_taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Cause, FeatureState};

    fn decision(cause: Cause) -> Decision {
        Decision { state: FeatureState::Disabled, cause, share: None }
    }

    #[test]
    fn a_pass_that_is_left_after_an_operator_turned_the_feature_off_lets_nothing_through() {
        let probes = Probes::new();
        probes.follow(0, &Decision::ENABLED, &decision(Cause::Level));
        probes.follow(0, &decision(Cause::Level), &decision(Cause::Operator));
        probes.passes.iter().for_each(|passes| passes.store(1, Relaxed));
        assert!(!probes.let_through(Nanos::MAX - 1, Place::Layer));
    }
}
