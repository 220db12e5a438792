//! The ramp: after its probes, a circuit admits a growing share of the calls.
//!
//! Which calls are admitted is one word: the upper half has what the share has added up to, the lower half the share itself,
//! both in units of 2⁻³² calls. Each call adds the share, and is admitted if that completes a whole call. So of any *n* calls of
//! a step, *n* × share are admitted, to one call, and they are evenly spread. A step begins with half a call, so that many
//! instances together don't admit more than their share.
//!
//! Share and sum change together: a call that races with the next step counts in one of the two.
//!
//! # When a step ends
//!
//! A call that the share refuses looks at the clock, and no other: so an admitted call doesn't pay for it. The step is over once
//! its time has passed and enough of its calls have finished, or after [`LONGEST_STEP`].

use super::{
    Nanos,
    count::Count,
    packed_state::Generation,
    settings::RampRule,
    sync::{AtomicU64, Ordering},
};

/// How many calls must have finished in a step, so that it shows something.
const ENOUGH: u32 = 10;

/// A step ends after this time, however few calls have finished: without traffic, nothing is to be protected.
pub(super) const LONGEST_STEP: Nanos = 60_000_000_000;

const HALF_A_CALL: u64 = 1 << 63;

/// The step of a ramp. Written under the lock, before the circuit's word is published.
#[derive(Debug)]
pub(super) struct Ramp {
    /// What the share adds up to, and the share.
    credit: AtomicU64,
    /// How many calls have finished in this step, up to [`ENOUGH`].
    finished: Count,
    /// When the step's time has passed.
    ends: AtomicU64,
    /// When it ends, however few calls have finished.
    ends_in_any_case: AtomicU64,
}

impl Ramp {
    pub(super) fn new() -> Self {
        Self {
            credit: AtomicU64::new(0),
            finished: Count::new(Generation::FIRST),
            ends: AtomicU64::new(0),
            ends_in_any_case: AtomicU64::new(0),
        }
    }

    /// Begins step number `step` in `generation`. Returns `false` if there are fewer.
    pub(super) fn begin(&self, rule: &RampRule, step: usize, generation: Generation, now: Nanos) -> bool {
        let Some(share) = rule.share(step) else { return false };
        self.finished.renew(generation);
        self.ends.store(now.saturating_add(rule.each), Ordering::Relaxed);
        self.ends_in_any_case.store(now.saturating_add(LONGEST_STEP), Ordering::Relaxed);
        self.credit.store(HALF_A_CALL | u64::from(share), Ordering::Release);
        true
    }

    /// Another generation counts the calls of the same step.
    pub(super) fn renew(&self, generation: Generation) {
        self.finished.renew(generation);
    }

    /// Whether the share admits the next call.
    #[inline]
    pub(super) fn admits(&self) -> bool {
        let mut seen = self.credit.load(Ordering::Relaxed);
        loop {
            let (next, is_whole) = seen.overflowing_add(seen << 32);
            match self.credit.compare_exchange_weak(seen, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return is_whole,
                Err(other) => seen = other,
            }
        }
    }

    /// A call of `generation` has finished.
    pub(super) fn finish(&self, generation: Generation) {
        if self.finished.of(generation) < ENOUGH {
            self.finished.add(generation, 1);
        }
    }

    /// Whether the step is over.
    pub(super) fn is_over(&self, generation: Generation, now: Nanos) -> bool {
        now >= self.ends_in_any_case() || now >= self.ends() && self.finished.of(generation) >= ENOUGH
    }

    pub(super) fn ends(&self) -> Nanos {
        self.ends.load(Ordering::Relaxed)
    }

    pub(super) fn ends_in_any_case(&self) -> Nanos {
        self.ends_in_any_case.load(Ordering::Relaxed)
    }

    /// The share of calls that it admits.
    pub(super) fn share(&self) -> f64 {
        (self.credit.load(Ordering::Relaxed) & u64::from(u32::MAX)) as f64 / (1_u64 << 32) as f64
    }
}

#[cfg(all(test, not(backstop_loom)))]
mod tests {
    use super::*;

    fn step(share: f64) -> Ramp {
        let ramp = Ramp::new();
        assert!(ramp.begin(&RampRule::new(&[share], 1_000), 0, Generation::FIRST, 0));
        ramp
    }

    #[test]
    fn of_any_number_of_calls_the_share_is_admitted_to_one_call() {
        for percent in [0.0001, 1.0, 5.0, 12.5, 25.0, 100.0 / 3.0, 50.0, 99.0, 99.9999] {
            let (ramp, share) = (step(percent / 100.0), percent / 100.0);
            let mut admitted = 0;
            for calls in 1..=2_000_000 {
                admitted += u32::from(ramp.admits());
                let exact = f64::from(calls) * share;
                assert!((f64::from(admitted) - exact).abs() <= 0.501, "{admitted} of {calls}, not {exact}");
            }
        }
    }

    #[test]
    fn the_admitted_calls_are_evenly_spread() {
        for (share, gaps) in [(0.25, 4..=4), (0.5, 2..=2), (0.3, 3..=4), (0.01, 100..=100)] {
            let ramp = step(share);
            let admitted: Vec<_> = (0..10_000).filter(|_| ramp.admits()).collect();
            assert!(admitted.windows(2).all(|pair| gaps.contains(&(pair[1] - pair[0]))), "{share}");
        }
    }

    #[test]
    fn threads_together_get_exactly_the_share() {
        let ramp = step(0.05);
        let admits = || (0..100_000).filter(|_| ramp.admits()).count();
        let admitted: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(admits)).collect();
            threads.into_iter().map(|thread| thread.join().expect("it doesn't panic")).sum()
        });
        assert_eq!(admitted, 20_000);
    }
}
