//! Keeps a level from flapping.
//!
//! | from | while it is, without a break | for | to |
//! |---|---|---|---|
//! | healthy | degraded or critical | `degrade_after` | degraded |
//! | healthy, degraded | critical | `critical_after` | critical |
//! | critical | better than critical, counted from the last change at the earliest | the recovery time | degraded |
//! | degraded | healthy, counted from the last change at the earliest | the recovery time | healthy |
//!
//! The recovery time is `recover_after`. It doubles, up to `max_recover_after`, if the level gets worse within `calm_after`
//! of having got better, and is `recover_after` again if it gets worse later than that.

use std::time::Duration;

use backstop_core::Level;
use tokio::time::Instant;

use crate::HealthConfig;

#[derive(Debug)]
pub(crate) struct Damper {
    level: Level,
    changed: Instant,
    degraded: Threshold,
    critical: Threshold,
    /// How often the recovery time was doubled.
    relapses: u32,
    /// When the level last got better, unless it got worse since.
    got_better: Option<Instant>,
}

/// Whether what is observed is at least as bad as a level, and since when.
#[derive(Debug)]
struct Threshold {
    is_reached: bool,
    since: Instant,
}

impl Threshold {
    fn observe(&mut self, now: Instant, is_reached: bool) {
        if self.is_reached != is_reached {
            *self = Self { is_reached, since: now };
        }
    }

    fn reached_for(&self, time: Duration) -> Option<Instant> {
        self.is_reached.then(|| self.since + time)
    }
}

impl Damper {
    pub(crate) const fn new(now: Instant) -> Self {
        Self {
            level: Level::Healthy,
            changed: now,
            degraded: Threshold { is_reached: false, since: now },
            critical: Threshold { is_reached: false, since: now },
            relapses: 0,
            got_better: None,
        }
    }

    pub(crate) const fn level(&self) -> Level {
        self.level
    }

    /// Observes `raw` from `now` on. Whether the level has changed.
    pub(crate) fn observe(&mut self, now: Instant, raw: Level, config: &HealthConfig) -> bool {
        self.degraded.observe(now, raw >= Level::Degraded);
        self.critical.observe(now, raw >= Level::Critical);
        let before = self.level;
        while let Some((_, to)) = self.due(config).filter(|(due, _)| *due <= now) {
            self.change(now, to, config);
        }
        self.level != before
    }

    /// When the level will change if nothing happens before, and to what.
    pub(crate) fn due(&self, config: &HealthConfig) -> Option<(Instant, Level)> {
        let (mut degraded, mut critical) = (None, None);
        if self.level < Level::Degraded {
            degraded = self.degraded.reached_for(config.degrade_after).map(|due| (due, Level::Degraded));
        }
        if self.level < Level::Critical {
            critical = self.critical.reached_for(config.critical_after).map(|due| (due, Level::Critical));
        }
        let worse = degraded.into_iter().chain(critical).min_by_key(|(due, _)| *due);
        worse.or_else(|| {
            let (threshold, better) = match self.level {
                Level::Healthy => return None,
                Level::Degraded => (&self.degraded, Level::Healthy),
                _ => (&self.critical, Level::Degraded),
            };
            let since = threshold.since.max(self.changed);
            (!threshold.is_reached).then(|| (since + self.recovery_time(config), better))
        })
    }

    fn change(&mut self, now: Instant, to: Level, config: &HealthConfig) {
        if to < self.level {
            self.got_better = Some(now);
        } else if let Some(got_better) = self.got_better.take() {
            let is_relapse = now.duration_since(got_better) < config.calm_after;
            self.relapses = if is_relapse { self.relapses.saturating_add(1) } else { 0 };
        }
        self.level = to;
        self.changed = now;
    }

    fn recovery_time(&self, config: &HealthConfig) -> Duration {
        let doubled = 2_u32.saturating_pow(self.relapses);
        config.recover_after.saturating_mul(doubled).min(config.max_recover_after)
    }
}
