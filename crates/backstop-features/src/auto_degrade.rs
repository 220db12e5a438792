//! Degrades a feature by its own errors, and lets it return in steps.
//!
//! | in | on | to |
//! |---|---|---|
//! | on | the first error | on, with a window |
//! | on, with a window | the window ends | on |
//! | on, with a window | enough errors, and a large enough share of the calls | degraded, for a time |
//! | any | the fleet is degraded | degraded, for as long as the fleet |
//! | degraded, for less than 90 s | the level or a component keeps the feature off | on: the errors had the same cause |
//! | degraded | its time has passed | returning, first step |
//! | returning | the step has lasted long enough, with enough calls or longer | the next step, after the last one on |
//! | returning | as when on | degraded, for twice the time |

use std::time::Duration;

use backstop_core::Value;

/// Nanoseconds since the features were built.
pub(crate) type Nanos = u64;

pub(crate) const fn nanos(time: Duration) -> Nanos {
    let nanos = time.as_nanos();
    // 584 years.
    if nanos > Nanos::MAX as u128 { Nanos::MAX } else { nanos as Nanos }
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

impl Rules {
    /// As an operator's inventory shows them, named as in the configuration.
    pub(crate) fn shown(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("min_errors", self.min_errors.into()),
            ("share", (f64::from(self.share) / 1e6).into()),
            ("window", Duration::from_nanos(self.window).into()),
            ("time", Duration::from_nanos(self.degrade).into()),
            ("max_time", Duration::from_nanos(self.degrade_max).into()),
        ]
    }
}

/// The shares of the calls that are let through, one step after another.
const STEPS: [Ppm; 4] = [10_000, 50_000, 250_000, 500_000];
const STEP: Nanos = nanos(Duration::from_secs(10));
const STEP_CALLS: u64 = 10;
const STEP_MAX: Nanos = nanos(Duration::from_secs(60));
/// By how much an instance's end of a degradation may differ from the fleet's.
const FLEET_TOLERANCE: Nanos = nanos(Duration::from_secs(2));
/// Errors have the same cause as what keeps the feature off this much later. If the fleet has degraded it first, an instance must see
/// 5 probes fail until its circuit opens, which takes 60 s. Health shows that within 12 s.
const SAME_CAUSE: Nanos = nanos(Duration::from_secs(90));
/// How much later than this instance the fleet may degrade because of the same errors: once its window has settled, and all have
/// reported.
const FLEET_DELAY: Nanos = nanos(Duration::from_secs(5));

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    On,
    Degraded { until: Nanos },
    Returning { step: usize, since: Nanos, calls_before: u64 },
}

/// A change comes at this time, or once so many calls have ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NextChange {
    pub(crate) at: Nanos,
    pub(crate) calls: u64,
}

impl NextChange {
    pub(crate) const NEVER: Self = Self { at: Nanos::MAX, calls: u64::MAX };
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
    /// How often it has degraded by this instance's errors, until a long calm.
    trips: u32,
    /// When the last degradation began, and when it ended or will end.
    began: Nanos,
    last: Nanos,
    /// Whether the last degradation is one of the `trips`.
    is_trip: bool,
    /// Degradations of the fleet that end by then have another cause.
    ignore_fleet_until: Nanos,
}

impl AutoDegrade {
    pub(crate) const fn new(rules: Rules) -> Self {
        let phase = Phase::On;
        Self { rules, phase, window: None, trips: 0, began: 0, last: 0, is_trip: false, ignore_fleet_until: 0 }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Changes the rules. A degradation that runs goes on to its end.
    pub(crate) const fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// The share of the calls that is let through, while it returns.
    pub(crate) fn share(&self) -> Option<Ppm> {
        match self.phase {
            Phase::Returning { step, .. } => STEPS.get(step).copied(),
            _ => None,
        }
    }

    /// When [`advance`](Self::advance) may next have an effect, if it was called `now`.
    pub(crate) const fn next_change(&self, now: Nanos) -> NextChange {
        match self.phase {
            Phase::On => NextChange::NEVER,
            Phase::Degraded { until } => NextChange { at: until, ..NextChange::NEVER },
            Phase::Returning { since, .. } if now < since.saturating_add(STEP) => {
                NextChange { at: since.saturating_add(STEP), ..NextChange::NEVER }
            }
            Phase::Returning { since, calls_before, .. } => {
                NextChange { at: since.saturating_add(STEP_MAX), calls: calls_before.saturating_add(STEP_CALLS) }
            }
        }
    }

    /// A call failed; `calls` have ended so far, with this one.
    pub(crate) fn error(&mut self, now: Nanos, calls: u64) {
        self.advance(now, calls);
        // Results that come late don't prolong it.
        if let Phase::Degraded { .. } = self.phase {
            return;
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
    }

    fn trip(&mut self, now: Nanos) {
        if self.trips > 0 && now.saturating_sub(self.last) > self.rules.degrade_max.saturating_mul(2) {
            self.trips = 0;
        }
        let time = self.rules.degrade.saturating_mul(1 << self.trips.min(20)).min(self.rules.degrade_max);
        self.trips += 1;
        self.begin(now, now.saturating_add(time), true);
    }

    const fn begin(&mut self, now: Nanos, until: Nanos, is_trip: bool) {
        self.phase = Phase::Degraded { until };
        self.window = None;
        (self.began, self.last, self.is_trip) = (now, until, is_trip);
    }

    /// The fleet is degraded for this long.
    pub(crate) fn follow_fleet(&mut self, now: Nanos, remaining: Nanos) {
        let until = self.end_of_fleet(now, remaining);
        match self.phase {
            // The same degradation, reported again: a report takes some time, so the end moves a little.
            Phase::Degraded { until: earlier } => {
                let until = until.max(earlier);
                (self.phase, self.last) = (Phase::Degraded { until }, until);
            }
            // Over already by our clock.
            _ if remaining < FLEET_TOLERANCE => {}
            _ if until <= self.ignore_fleet_until.saturating_add(FLEET_TOLERANCE) => {}
            _ => self.begin(now, until, false),
        }
    }

    /// The level or a component keeps the feature off: recent errors had the same cause. They don't keep it degraded for longer.
    pub(crate) fn put_down_to_shedding(&mut self, now: Nanos) {
        self.window = None;
        if let Phase::Degraded { until } = self.phase
            && now.saturating_sub(self.began) < SAME_CAUSE
        {
            self.phase = Phase::On;
            self.trips -= u32::from(self.is_trip);
            self.ignore_fleet_until = self.ignore_fleet_until.max(until.saturating_add(FLEET_DELAY));
        }
    }

    /// The fleet is degraded for this long, because of what keeps the feature off.
    pub(crate) fn ignore_fleet(&mut self, now: Nanos, remaining: Nanos) {
        self.ignore_fleet_until = self.ignore_fleet_until.max(self.end_of_fleet(now, remaining));
    }

    /// Bounded, because a store can say anything.
    fn end_of_fleet(&self, now: Nanos, remaining: Nanos) -> Nanos {
        now.saturating_add(remaining.min(self.rules.degrade_max))
    }

    /// Makes the changes that time brings.
    pub(crate) fn advance(&mut self, now: Nanos, calls: u64) {
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
                        return;
                    }
                }
                _ => return,
            };
            self.phase = next;
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

    /// Whether the feature is degraded after an error.
    fn fails(auto: &mut AutoDegrade, now: Nanos, calls: u64) -> bool {
        auto.error(now, calls);
        matches!(auto.phase(), Phase::Degraded { .. })
    }

    /// Whether time brings a change.
    fn changes(auto: &mut AutoDegrade, now: Nanos, calls: u64) -> bool {
        let before = auto.phase();
        auto.advance(now, calls);
        auto.phase() != before
    }

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
        assert!((1..5).all(|call| !fails(&mut auto, call, call)));
        assert!(fails(&mut auto, 5, 5));

        // 5 of 101 calls, then 6 of 102.
        let mut auto = usual();
        assert!((1..5).all(|call| !fails(&mut auto, call, call)));
        assert!(!fails(&mut auto, 5, 101));
        assert!(fails(&mut auto, 6, 102));

        // Exactly 5 %.
        let mut auto = usual();
        assert!((1..5).all(|call| !fails(&mut auto, call, call)));
        assert!(fails(&mut auto, 5, 100));
    }

    #[test]
    fn a_window_starts_with_its_first_error_and_counts_only_calls_since() {
        let mut auto = usual();
        assert!(!fails(&mut auto, 0, 1));
        // Its window is over, so this error is the first of another one: the 1,000 calls before don't dilute it.
        assert!((0..4).all(|i| !fails(&mut auto, 60 * S, 1_001 + i)));
        assert!(fails(&mut auto, 61 * S, 1_005));
    }

    #[test]
    fn an_idle_feature_is_on_again_after_four_steps_of_a_minute() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(0, call));
        assert_eq!(auto.phase(), Phase::Degraded { until: 300 * S });
        assert!(!changes(&mut auto, 300 * S - 1, 5));
        for (after, share) in [(300, 10_000), (360, 50_000), (420, 250_000), (480, 500_000)] {
            assert!(changes(&mut auto, after * S, 5));
            assert_eq!(auto.share(), Some(share));
            assert!(!changes(&mut auto, (after + 60) * S - 1, 5), "9 calls aren't enough");
        }
        assert!(changes(&mut auto, 540 * S, 5));
        assert_eq!(auto.phase(), Phase::On);
    }

    #[test]
    fn a_step_with_ten_calls_lasts_ten_seconds() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(0, call));
        assert!(changes(&mut auto, 300 * S, 5));
        assert!(!changes(&mut auto, 309 * S, 1_000));
        assert!(!changes(&mut auto, 310 * S, 14));
        assert!(changes(&mut auto, 310 * S, 15));
        assert_eq!(auto.share(), Some(50_000));
    }

    #[test]
    fn a_step_with_few_calls_waits_for_the_tenth_call() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(0, call));
        assert!(changes(&mut auto, 300 * S, 5));
        assert_eq!(auto.next_change(300 * S), NextChange { at: 310 * S, ..NextChange::NEVER });
        assert!(!changes(&mut auto, 310 * S, 14));
        assert_eq!(auto.next_change(310 * S), NextChange { at: 360 * S, calls: 15 });
    }

    #[test]
    fn time_that_nobody_watched_has_passed() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(0, call));
        assert!(changes(&mut auto, 10_000 * S, 5));
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
        (1..=5).for_each(|call| auto.error(now, calls + call));
        assert_eq!(auto.phase(), Phase::Degraded { until: now + 300 * S });
    }

    #[test]
    fn the_fleet_decides_for_how_long_and_errors_that_come_late_prolong_nothing() {
        let mut auto = usual();
        auto.follow_fleet(10 * S, 300 * S);
        auto.follow_fleet(11 * S, 299 * S);
        (1..100).for_each(|call| auto.error(12 * S, call));
        assert_eq!(auto.phase(), Phase::Degraded { until: 310 * S });
        auto.follow_fleet(12 * S, Nanos::MAX);
        assert_eq!(auto.phase(), Phase::Degraded { until: 3_612 * S }, "bounded");
    }

    #[test]
    fn errors_right_before_the_feature_is_shed_anyway_are_forgotten() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(10 * S, call));
        auto.put_down_to_shedding(13 * S);
        assert_eq!(auto.phase(), Phase::On);
        // The fleet has decided by the same errors.
        auto.follow_fleet(100 * S, 212 * S);
        assert_eq!(auto.phase(), Phase::On);
        // Later errors count, and are no relapse.
        (1..=4).for_each(|call| auto.error(100 * S, 5 + call));
        assert_eq!(auto.phase(), Phase::On);
        auto.error(100 * S, 10);
        assert_eq!(auto.phase(), Phase::Degraded { until: 400 * S });
    }

    #[test]
    fn errors_of_before_do_not_have_the_same_cause() {
        let mut auto = usual();
        (1..=5).for_each(|call| auto.error(10 * S, call));
        auto.put_down_to_shedding(100 * S);
        assert_eq!(auto.phase(), Phase::Degraded { until: 310 * S });
        auto.advance(310 * S, 5);
        auto.follow_fleet(311 * S, 300 * S);
        assert_eq!(auto.phase(), Phase::Degraded { until: 611 * S }, "a later degradation of the fleet");
    }

    #[test]
    fn the_fleet_is_ignored_for_no_longer_than_it_can_be_degraded() {
        let mut auto = usual();
        auto.ignore_fleet(0, nanos(Duration::MAX));
        auto.follow_fleet(3_600 * S, 300 * S);
        assert_eq!(auto.phase(), Phase::Degraded { until: 3_900 * S });
    }
}
