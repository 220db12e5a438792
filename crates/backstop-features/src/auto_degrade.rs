//! Degrades a feature by its own errors, and lets it return in steps.
//!
//! | in | on | to |
//! |---|---|---|
//! | on | the first error | on, with a window |
//! | on, with a window | the window ends | on |
//! | on, with a window | enough errors, and a large enough share of the calls | degraded, for a time |
//! | any | the fleet is degraded | degraded, for as long as the fleet |
//! | degraded | its time has passed | returning, first step |
//! | returning | the step has lasted long enough, with enough calls or longer | the next step, after the last one on |
//! | returning | as when on | degraded, for twice the time |

use std::time::Duration;

/// Nanoseconds since the features were built.
pub(crate) type Nanos = u64;

pub(crate) const fn nanos(time: Duration) -> Nanos {
    // 584 years.
    time.as_nanos() as Nanos
}

/// A share of the calls, in parts per million.
pub(crate) type Ppm = u32;

/// When a feature degrades by its errors, and for how long. Checked by the builder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) min_errors: u64,
    pub(crate) share: Ppm,
    pub(crate) window: Nanos,
    pub(crate) degrade: Nanos,
    pub(crate) degrade_max: Nanos,
    /// How long the store waits after an error until it decides, so that all instances have reported.
    pub(crate) settle: Nanos,
}

/// The shares of the calls that are let through, one step after another.
const STEPS: [Ppm; 4] = [10_000, 50_000, 250_000, 500_000];
const STEP: Nanos = nanos(Duration::from_secs(10));
const STEP_CALLS: u64 = 10;
const STEP_MAX: Nanos = nanos(Duration::from_secs(60));
/// By how much an instance's end of a degradation may differ from the fleet's.
const FLEET_TOLERANCE: Nanos = nanos(Duration::from_secs(2));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    On,
    Degraded { until: Nanos },
    Returning { step: usize, since: Nanos, calls_before: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Window {
    start: Nanos,
    calls_before: u64,
    errors: u64,
}

#[derive(Debug)]
pub(crate) struct AutoDegrade {
    rules: Rules,
    phase: Phase,
    window: Option<Window>,
    /// How often it has degraded, until a long calm.
    trips: u32,
    /// When the last degradation ended or will end.
    last: Nanos,
}

impl AutoDegrade {
    pub(crate) const fn new(rules: Rules) -> Self {
        Self { rules, phase: Phase::On, window: None, trips: 0, last: 0 }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    pub(crate) const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The share of the calls that is let through, while it returns.
    pub(crate) fn share(&self) -> Option<Ppm> {
        match self.phase {
            Phase::Returning { step, .. } => STEPS.get(step).copied(),
            _ => None,
        }
    }

    /// When [`advance`](Self::advance) may next have an effect.
    pub(crate) const fn next_change(&self) -> Nanos {
        match self.phase {
            Phase::On => Nanos::MAX,
            Phase::Degraded { until } => until,
            Phase::Returning { since, .. } => since.saturating_add(STEP),
        }
    }

    /// A call failed; `calls` have ended so far, with this one. Returns whether the feature degraded.
    pub(crate) fn error(&mut self, now: Nanos, calls: u64) -> bool {
        self.advance(now, calls);
        // Results that come late don't prolong it.
        if let Phase::Degraded { .. } = self.phase {
            return false;
        }
        let window = match &mut self.window {
            Some(window) if now.saturating_sub(window.start) < self.rules.window => window,
            window => window.insert(Window { start: now, calls_before: calls.saturating_sub(1), errors: 0 }),
        };
        window.errors += 1;
        let calls = calls.saturating_sub(window.calls_before).max(window.errors);
        let is_enough = window.errors >= self.rules.min_errors;
        // Exact: 5 of 100 are 5 %.
        let is_large = u128::from(window.errors) * 1_000_000 >= u128::from(calls) * u128::from(self.rules.share);
        if is_enough && is_large {
            self.trip(now);
        }
        is_enough && is_large
    }

    fn trip(&mut self, now: Nanos) {
        if self.trips > 0 && now.saturating_sub(self.last) > self.rules.degrade_max.saturating_mul(2) {
            self.trips = 0;
        }
        let time = self.rules.degrade.saturating_mul(1 << self.trips.min(20)).min(self.rules.degrade_max);
        self.trips += 1;
        self.degrade_until(now.saturating_add(time));
    }

    const fn degrade_until(&mut self, until: Nanos) {
        self.phase = Phase::Degraded { until };
        self.window = None;
        self.last = until;
    }

    /// The fleet is degraded for this long. Returns whether the feature degraded because of it.
    pub(crate) fn follow_fleet(&mut self, now: Nanos, remaining: Nanos) -> bool {
        let until = now.saturating_add(remaining.min(self.rules.degrade_max));
        match self.phase {
            // The same degradation, reported again: a report takes some time, so the end moves a little.
            Phase::Degraded { until: known } => {
                self.degrade_until(until.max(known));
                false
            }
            // Over already by our clock.
            _ if remaining < FLEET_TOLERANCE => false,
            _ => {
                self.degrade_until(until);
                true
            }
        }
    }

    /// Lets time pass. Returns whether the phase changed.
    pub(crate) fn advance(&mut self, now: Nanos, calls: u64) -> bool {
        let mut changed = false;
        loop {
            let next = match self.phase {
                Phase::Degraded { until } if now >= until => Self::step(0, until, calls),
                Phase::Returning { step, since, calls_before } => {
                    let lasted = now.saturating_sub(since);
                    if lasted >= STEP_MAX {
                        Self::step(step + 1, since + STEP_MAX, calls)
                    } else if lasted >= STEP && calls.saturating_sub(calls_before) >= STEP_CALLS {
                        Self::step(step + 1, now, calls)
                    } else {
                        return changed;
                    }
                }
                _ => return changed,
            };
            self.phase = next;
            changed = true;
        }
    }

    const fn step(step: usize, since: Nanos, calls_before: u64) -> Phase {
        if step < STEPS.len() { Phase::Returning { step, since, calls_before } } else { Phase::On }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Nanos = nanos(Duration::from_secs(1));

    fn usual() -> AutoDegrade {
        AutoDegrade::new(Rules {
            min_errors: 5,
            share: 50_000,
            window: 60 * S,
            degrade: 300 * S,
            degrade_max: 3_600 * S,
            settle: 2 * S,
        })
    }

    #[test]
    fn it_takes_enough_errors_and_a_large_enough_share() {
        let mut auto = usual();
        assert!((1..5).all(|call| !auto.error(call, call)));
        assert!(auto.error(5, 5));

        // 5 of 101 calls, then 6 of 102.
        let mut auto = usual();
        assert!((1..5).all(|call| !auto.error(call, call)));
        assert!(!auto.error(5, 101));
        assert!(auto.error(6, 102));

        // Exactly 5 %.
        let mut auto = usual();
        assert!((1..5).all(|call| !auto.error(call, call)));
        assert!(auto.error(5, 100));
    }

    #[test]
    fn a_window_starts_with_its_first_error_and_counts_only_calls_since() {
        let mut auto = usual();
        assert!(!auto.error(0, 1));
        // Its window is over, so this error is the first of another one: the 1,000 calls before don't dilute it.
        assert!((0..4).all(|i| !auto.error(60 * S, 1_001 + i)));
        assert!(auto.error(61 * S, 1_005));
    }

    #[test]
    fn an_idle_feature_is_on_again_after_four_steps_of_a_minute() {
        let mut auto = usual();
        (1..=5).for_each(|call| _ = auto.error(0, call));
        assert_eq!(auto.phase(), Phase::Degraded { until: 300 * S });
        assert!(!auto.advance(300 * S - 1, 5));
        for (after, share) in [(300, 10_000), (360, 50_000), (420, 250_000), (480, 500_000)] {
            assert!(auto.advance(after * S, 5));
            assert_eq!(auto.share(), Some(share));
            assert!(!auto.advance((after + 60) * S - 1, 5), "9 calls aren't enough");
        }
        assert!(auto.advance(540 * S, 5));
        assert_eq!(auto.phase(), Phase::On);
    }

    #[test]
    fn a_step_with_ten_calls_lasts_ten_seconds() {
        let mut auto = usual();
        (1..=5).for_each(|call| _ = auto.error(0, call));
        assert!(auto.advance(300 * S, 5));
        assert!(!auto.advance(309 * S, 1_000));
        assert!(!auto.advance(310 * S, 14));
        assert!(auto.advance(310 * S, 15));
        assert_eq!(auto.share(), Some(50_000));
    }

    #[test]
    fn time_that_nobody_watched_has_passed() {
        let mut auto = usual();
        (1..=5).for_each(|call| _ = auto.error(0, call));
        assert!(auto.advance(10_000 * S, 5));
        assert_eq!(auto.phase(), Phase::On);
    }

    #[test]
    fn a_relapse_doubles_the_time_up_to_an_hour_and_a_long_calm_forgets_it() {
        let mut auto = usual();
        let (mut now, mut calls, mut times) = (0, 0, Vec::new());
        for _ in 0..6 {
            (0..5).for_each(|_| {
                calls += 1;
                auto.error(now, calls);
            });
            let Phase::Degraded { until } = auto.phase() else { panic!("{auto:?}") };
            times.push((until - now) / S);
            now = until + S;
        }
        assert_eq!(times, [300, 600, 1_200, 2_400, 3_600, 3_600]);
        now += 2 * 3_600 * S;
        (1..=5).for_each(|call| _ = auto.error(now, calls + call));
        assert_eq!(auto.phase(), Phase::Degraded { until: now + 300 * S });
    }

    #[test]
    fn the_fleet_decides_for_how_long_and_errors_that_come_late_prolong_nothing() {
        let mut auto = usual();
        assert!(auto.follow_fleet(10 * S, 300 * S));
        assert!(!auto.follow_fleet(11 * S, 299 * S), "the same degradation");
        assert!((1..100).all(|call| !auto.error(12 * S, call)));
        assert_eq!(auto.phase(), Phase::Degraded { until: 310 * S });
        assert!(!auto.follow_fleet(12 * S, Nanos::MAX));
        assert_eq!(auto.phase(), Phase::Degraded { until: 3_612 * S }, "bounded");
    }
}
