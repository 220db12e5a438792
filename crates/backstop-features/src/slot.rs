//! One feature of one registry.
//!
//! Asking whether it is on reads one byte. When a cause changes (an operator's flag, the level, an error, time), the byte is worked
//! out again, under the lock of the slot. Only calls of a feature that isn't on read the clock, to see whether a change or a
//! [probe](crate::probes) is due.

use std::sync::{
    Mutex, MutexGuard, PoisonError, TryLockError,
    atomic::{
        AtomicBool, AtomicU8, AtomicU64,
        Ordering::{Relaxed, Release},
    },
};
use std::time::Duration;

use backstop_core::{EventLog, Level, Name, Value};
use tokio::time::Instant;

use crate::{
    Cause, FeatureState,
    auto_degrade::{AutoDegrade, Nanos, Phase, Ppm, Rules, nanos},
    config::FeatureRules,
    decision::{Causes, Decision, Flags},
    metrics,
    probes::{Place, Probes},
    telemetry::{self, Changed},
};

pub(crate) struct Slot {
    /// The [`FeatureState`].
    state: AtomicU8,
    counts_errors: AtomicBool,
    name: Name,
    base: Instant,
    /// When time alone may change something, or the number of ended calls.
    next_change: AtomicU64,
    next_change_calls: AtomicU64,
    probes: Probes,
    locked: Mutex<Locked>,
    pub(crate) counts: Counts,
}

/// Ended calls. In a cache line of its own, because every call writes to it.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) errors: AtomicU64,
}

struct Locked {
    causes: Causes,
    decision: Decision,
    since: Instant,
    log: Option<EventLog>,
}

/// What decides about a feature, for operators.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) state: FeatureState,
    pub(crate) cause: Cause,
    pub(crate) since: Instant,
    pub(crate) rules: FeatureRules,
    pub(crate) flags: Flags,
    pub(crate) share: Option<Ppm>,
    pub(crate) until: Option<Duration>,
}

impl Slot {
    pub(crate) fn new(name: Name, rules: FeatureRules, base: Instant, is_known: bool) -> Self {
        let slot = Self {
            state: AtomicU8::new(FeatureState::Enabled as u8),
            counts_errors: AtomicBool::new(rules.errors.is_some()),
            name,
            base,
            next_change: AtomicU64::new(Nanos::MAX),
            next_change_calls: AtomicU64::new(u64::MAX),
            probes: Probes::new(),
            locked: Mutex::new(Locked {
                causes: Causes::new(rules, is_known),
                decision: Decision::ENABLED,
                since: base,
                log: None,
            }),
            counts: Counts::default(),
        };
        slot.change(|_| {});
        slot
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    /// Whether every call may be made.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.state.load(Relaxed) == FeatureState::Enabled as u8
    }

    /// Whether all calls may be made, or at least some of them.
    pub(crate) fn lets_some_through(&self) -> bool {
        self.is_on() || self.probes.let_some_through()
    }

    /// The state of the feature for one call. Enabled for a call that is let through.
    #[inline]
    pub(crate) fn state_for_call(&self, place: Place) -> FeatureState {
        if self.is_on() { FeatureState::Enabled } else { self.state_unless_on(place) }
    }

    #[cold]
    fn state_unless_on(&self, place: Place) -> FeatureState {
        let now = self.now();
        if self.is_due(now) {
            // A request never waits for the lock.
            match self.locked.try_lock() {
                Ok(locked) => self.change_locked(locked, |_| {}),
                Err(TryLockError::Poisoned(poisoned)) => self.change_locked(poisoned.into_inner(), |_| {}),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        match self.state.load(Relaxed) {
            0 => FeatureState::Enabled,
            _ if self.probes.let_through(now, place) => FeatureState::Enabled,
            1 => FeatureState::Degraded,
            _ => FeatureState::Disabled,
        }
    }

    /// Makes the changes that are due.
    pub(crate) fn advance(&self) {
        if self.is_due(self.now()) {
            self.change(|_| {});
        }
    }

    fn is_due(&self, now: Nanos) -> bool {
        now >= self.next_change.load(Relaxed) || self.counts.calls.load(Relaxed) >= self.next_change_calls.load(Relaxed)
    }

    /// Counts a call that succeeded.
    #[inline]
    pub(crate) fn count_success(&self) {
        if self.counts_errors.load(Relaxed) {
            self.counts.calls.fetch_add(1, Relaxed);
        }
    }

    /// Counts a call that failed.
    #[cold]
    pub(crate) fn count_error(&self) {
        if !self.counts_errors.load(Relaxed) {
            return;
        }
        let now = self.now();
        self.change(|causes| {
            let calls = self.counts.calls.load(Relaxed) + 1;
            if causes.count_error(now, calls) {
                self.counts.calls.fetch_add(1, Relaxed);
                // A thread that reads the error sees its call, too.
                self.counts.errors.fetch_add(1, Release);
            }
        });
    }

    /// The store says that the fleet is degraded for this long.
    pub(crate) fn follow_fleet(&self, remaining: Duration) {
        let now = self.now();
        self.change(|causes| causes.follow_fleet(now, nanos(remaining)));
    }

    /// Sets the level of the service and the worst state of the components, and makes the changes that are due.
    pub(crate) fn set_surroundings(&self, level: Level, component: Option<Level>) {
        let mut locked = self.lock();
        if locked.causes.set_surroundings(level, component) || self.is_due(self.now()) {
            self.change_locked(locked, |_| {});
        }
    }

    /// Changes the flags. Returns a change that is to be logged.
    #[must_use]
    pub(crate) fn change_flags(&self, change: impl FnOnce(&mut Flags)) -> Option<Changed<'_>> {
        self.publish(self.lock(), |causes| change(causes.flags_mut()))
    }

    pub(crate) fn flags(&self) -> Flags {
        self.lock().causes.flags().clone()
    }

    /// Its flag in the store has been read. Returns a change that is to be logged.
    #[must_use]
    pub(crate) fn set_known(&self) -> Option<Changed<'_>> {
        self.publish(self.lock(), Causes::set_known)
    }

    pub(crate) fn set_rules(&self, rules: FeatureRules) {
        self.change(|causes| {
            self.counts_errors.store(rules.errors.is_some(), Relaxed);
            causes.set_rules(rules);
        });
    }

    pub(crate) fn report_to(&self, log: &EventLog) {
        self.lock().log.get_or_insert_with(|| log.clone());
    }

    /// Records an operator's act.
    pub(crate) fn record(&self, act: Vec<(&'static str, Value)>) {
        let log = self.lock().log.clone();
        if let Some(log) = log {
            log.push(self.name().clone(), telemetry::KIND, act);
        }
    }

    pub(crate) fn read(&self) -> Reading {
        self.advance();
        let locked = self.lock();
        let Locked { causes, decision, since, .. } = &*locked;
        let until = match causes.auto().map(AutoDegrade::phase) {
            Some(Phase::Degraded { until }) => Some(Duration::from_nanos(until.saturating_sub(self.now()))),
            _ => None,
        };
        Reading {
            state: decision.state,
            cause: decision.cause,
            since: *since,
            rules: causes.rules().clone(),
            flags: causes.flags().clone(),
            share: causes.auto().and_then(AutoDegrade::share),
            until,
        }
    }

    /// The rules of its degradation by errors, if it has any.
    pub(crate) fn error_rules(&self) -> Option<Rules> {
        self.lock().causes.rules().errors
    }

    /// Sets the gauge of the state.
    pub(crate) fn show_state(&self) {
        metrics::show_state(self.name(), || self.lock().decision.state);
    }

    fn now(&self) -> Nanos {
        nanos(self.base.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Causes)) {
        self.change_locked(self.lock(), change);
    }

    /// Changes a cause, publishes what follows, and logs it.
    fn change_locked(&self, locked: MutexGuard<'_, Locked>, change: impl FnOnce(&mut Causes)) {
        telemetry::changed(self.publish(locked, change));
    }

    /// Changes a cause, and publishes what follows. Returns a change that is to be logged.
    fn publish(&self, mut locked: MutexGuard<'_, Locked>, change: impl FnOnce(&mut Causes)) -> Option<Changed<'_>> {
        let now = self.now();
        change(&mut locked.causes);
        let after = locked.causes.advance(now, self.counts.calls.load(Relaxed));
        let before = std::mem::replace(&mut locked.decision, after);
        self.probes.follow(now, &before, &after);
        let next_change = locked.causes.next_change(now, self.base);
        self.next_change.store(next_change.at, Relaxed);
        self.next_change_calls.store(next_change.calls, Relaxed);
        self.state.store(after.state as u8, Relaxed);
        if (before.state, before.cause) == (after.state, after.cause) {
            return None;
        }
        locked.since = Instant::now();
        let flag = locked.causes.flags().deciding().cloned();
        let changed = Changed { slot: self, from: before.state, to: after.state, cause: after.cause, flag };
        if let Some(log) = &locked.log {
            log.push(self.name().clone(), telemetry::KIND, changed.fields());
        }
        Some(changed)
    }
}
