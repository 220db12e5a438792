//! One feature of one registry: what a look reads, and what decides it.
//!
//! A look reads one byte. When a cause changes (an operator's flag, the level, an error, time), the byte is worked out again,
//! under the lock of the slot. Only looks at a feature that isn't on do more: they draw lots for the share that is let through, and
//! see whether a probe is due.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError, TryLockError,
        atomic::{
            AtomicU8, AtomicU32, AtomicU64,
            Ordering::{Relaxed, Release},
        },
    },
    time::Duration,
};

use backstop_core::{EventLog, Level, Name};
use backstop_kit::Jitter;
use tokio::time::Instant;

use crate::{
    Cause, Declaration, FeatureState, Flag,
    auto_degrade::{AutoDegrade, Nanos, Phase, Ppm, nanos},
    metrics, telemetry,
};

/// One call is let through as a probe in this time, ± 20 %.
const PROBE_SHORTEST: Duration = Duration::from_secs(8);
/// The first one may come earlier, so that a fleet that shed a feature at once doesn't probe at once. But not immediately:
/// whatever made the feature unusable has only just happened.
const FIRST_PROBE_SHORTEST: Duration = Duration::from_secs(2);
const PROBE_LONGEST: Duration = Duration::from_secs(12);

/// How many calls may be on their way from one place to the next.
const MOST_PASSES: u32 = 16;

/// Where a call meets its feature. One call may pass all three: a handler looks, a provider has a condition, and a layer is
/// around its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Handler,
    Condition,
    Layer,
}

impl Place {
    const COUNT: usize = 3;
}

/// The byte of a feature that everyone may use.
const ON: u8 = 0;
/// Everyone may use it, in the bits of [`FeatureState`].
const STATE: u8 = 0b11;
/// One call may be let through as a probe.
const PROBED: u8 = 0b100;
/// A share is let through.
const SHARED: u8 = 0b1000;

pub(crate) struct Slot {
    /// What a look reads.
    byte: AtomicU8,
    declaration: Declaration,
    base: Instant,
    next_probe: AtomicU64,
    /// Calls that were let through further out, and may pass here, too: see [`Place`].
    passes: [AtomicU32; Place::COUNT],
    /// When time alone may change something.
    next_change: AtomicU64,
    /// The share that is let through.
    share: AtomicU64,
    jitter: Jitter,
    decision: Mutex<Decision>,
    pub(crate) counts: Counts,
}

/// Counts ended calls. In a cache line of its own, because every call writes to it.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) calls: AtomicU64,
    pub(crate) errors: AtomicU64,
}

/// All causes, and what follows from them.
struct Decision {
    flag: Option<Flag>,
    level: Level,
    /// `None` while it is unknown.
    component: Option<Level>,
    is_known: bool,
    auto: Option<AutoDegrade>,
    state: FeatureState,
    cause: Cause,
    since: Instant,
    log: Option<EventLog>,
}

/// What decides about a feature, for operators.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) state: FeatureState,
    pub(crate) cause: Cause,
    pub(crate) since: Instant,
    pub(crate) flag: Option<Flag>,
    pub(crate) share: Option<Ppm>,
    pub(crate) until: Option<Duration>,
}

impl Slot {
    pub(crate) fn new(declaration: Declaration, auto: Option<AutoDegrade>, base: Instant, is_known: bool) -> Self {
        let slot = Self {
            byte: AtomicU8::new(ON),
            base,
            next_probe: AtomicU64::new(0),
            passes: [const { AtomicU32::new(0) }; Place::COUNT],
            next_change: AtomicU64::new(Nanos::MAX),
            share: AtomicU64::new(0),
            jitter: Jitter::new(None),
            decision: Mutex::new(Decision {
                flag: None,
                level: Level::Healthy,
                component: declaration.needs.is_empty().then_some(Level::Healthy),
                is_known,
                auto,
                state: FeatureState::Enabled,
                cause: Cause::None,
                since: base,
                log: None,
            }),
            counts: Counts::default(),
            declaration,
        };
        slot.change(|_| {});
        slot
    }

    pub(crate) const fn declaration(&self) -> &Declaration {
        &self.declaration
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.declaration.name
    }

    /// Whether the feature may be used now.
    #[inline]
    pub(crate) fn look(&self, place: Place) -> FeatureState {
        match self.byte.load(Relaxed) {
            ON => FeatureState::Enabled,
            _ => self.look_closer(place),
        }
    }

    /// Whether every call may be made.
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        self.byte.load(Relaxed) == ON
    }

    #[cold]
    fn look_closer(&self, place: Place) -> FeatureState {
        let byte = self.let_time_pass();
        let state = state_of(byte);
        if byte & (SHARED | PROBED) != 0 && self.take_pass(place) {
            return FeatureState::Enabled;
        }
        let is_let_through = (byte & SHARED != 0 && self.jitter.number(0..1_000_000) < self.share.load(Relaxed))
            || (byte & PROBED != 0 && self.take_probe());
        if !is_let_through {
            return state;
        }
        for further_in in &self.passes[place as usize + 1..] {
            _ = further_in.fetch_update(Relaxed, Relaxed, |passes| (passes < MOST_PASSES).then_some(passes + 1));
        }
        FeatureState::Enabled
    }

    /// Takes the pass of a call that was let through further out. Otherwise it would have to be lucky twice.
    fn take_pass(&self, place: Place) -> bool {
        self.passes[place as usize].fetch_update(Relaxed, Relaxed, |passes| passes.checked_sub(1)).is_ok()
    }

    /// Takes the probe, if it is due. Of several callers, one gets it.
    fn take_probe(&self) -> bool {
        let (now, due) = (self.now(), self.next_probe.load(Relaxed));
        let next = now + self.probe_interval();
        now >= due && self.next_probe.compare_exchange(due, next, Relaxed, Relaxed).is_ok()
    }

    fn probe_interval(&self) -> Nanos {
        nanos(self.jitter.time(PROBE_SHORTEST..=PROBE_LONGEST))
    }

    /// Makes the changes that are due, unless another thread is at it. Returns the byte.
    fn let_time_pass(&self) -> u8 {
        if self.now() >= self.next_change.load(Relaxed) {
            // A request never waits for the lock.
            match self.decision.try_lock() {
                Ok(decision) => self.change_locked(decision, |_| {}),
                Err(TryLockError::Poisoned(poisoned)) => self.change_locked(poisoned.into_inner(), |_| {}),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        self.byte.load(Relaxed)
    }

    /// Makes the changes that are due.
    pub(crate) fn advance(&self) {
        if self.now() >= self.next_change.load(Relaxed) {
            self.change(|_| {});
        }
    }

    /// Notes a call that ended well.
    #[inline]
    pub(crate) fn count_success(&self) {
        self.counts.calls.fetch_add(1, Relaxed);
    }

    /// Notes a call that failed.
    #[cold]
    pub(crate) fn count_error(&self) {
        let calls = self.counts.calls.fetch_add(1, Relaxed) + 1;
        // A thread that reads the error sees its call, too.
        self.counts.errors.fetch_add(1, Release);
        if self.declaration.on_errors.is_none() {
            return;
        }
        let now = self.now();
        self.change(|decision| {
            if let Some(auto) = &mut decision.auto {
                auto.error(now, calls);
            }
        });
    }

    /// The store says that the fleet is degraded for this long.
    pub(crate) fn follow_fleet(&self, remaining: Duration) {
        let now = self.now();
        self.change(|decision| {
            if let Some(auto) = &mut decision.auto {
                auto.follow_fleet(now, nanos(remaining));
            }
        });
    }

    pub(crate) fn set_level(&self, level: Level) {
        let decision = self.lock();
        if decision.level != level {
            self.change_locked(decision, |decision| decision.level = level);
        }
    }

    pub(crate) fn set_component(&self, component: Option<Level>) {
        let decision = self.lock();
        if decision.component != component {
            self.change_locked(decision, |decision| decision.component = component);
        }
    }

    pub(crate) fn set_flag(&self, flag: Option<Flag>) {
        self.change(|decision| decision.flag = flag);
    }

    pub(crate) fn flag(&self) -> Option<Flag> {
        self.lock().flag.clone()
    }

    /// Its flag has been read.
    pub(crate) fn set_known(&self) {
        let decision = self.lock();
        if !decision.is_known {
            self.change_locked(decision, |decision| decision.is_known = true);
        }
    }

    pub(crate) fn report_to(&self, log: &EventLog) {
        self.lock().log.get_or_insert_with(|| log.clone());
    }

    pub(crate) fn read(&self) -> Reading {
        self.advance();
        let decision = self.lock();
        let auto = decision.auto.as_ref();
        let until = match auto.map(AutoDegrade::phase) {
            Some(Phase::Degraded { until }) => Some(Duration::from_nanos(until.saturating_sub(self.now()))),
            _ => None,
        };
        Reading {
            state: decision.state,
            cause: decision.cause,
            since: decision.since,
            flag: decision.flag.clone(),
            share: auto.and_then(AutoDegrade::share),
            until,
        }
    }

    /// The rules of its degradation by errors, if it has any.
    pub(crate) fn rules(&self) -> Option<crate::auto_degrade::Rules> {
        self.lock().auto.as_ref().map(|auto| *auto.rules())
    }

    /// Sets the gauge of the state.
    pub(crate) fn show_state(&self) {
        metrics::show_state(self.name(), || self.lock().state);
    }

    fn now(&self) -> Nanos {
        nanos(self.base.elapsed())
    }

    fn lock(&self) -> MutexGuard<'_, Decision> {
        self.decision.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Decision)) {
        self.change_locked(self.lock(), change);
    }

    /// Changes a cause, and publishes what follows.
    fn change_locked(&self, mut decision: MutexGuard<'_, Decision>, change: impl FnOnce(&mut Decision)) {
        let now = self.now();
        change(&mut decision);
        if let Some(auto) = &mut decision.auto {
            auto.advance(now, self.counts.calls.load(Relaxed));
        }
        if decision.flag.as_ref().is_some_and(Flag::has_expired) {
            decision.flag = None;
        }
        let (state, cause, share) = decision.decide(&self.declaration);
        let mut byte = state as u8;
        if cause.is_probed() {
            byte |= PROBED;
        }
        if let Some(share) = share {
            byte |= SHARED;
            self.share.store(share.into(), Relaxed);
        }
        if cause.is_probed() && !decision.cause.is_probed() {
            self.next_probe.store(now + nanos(self.jitter.time(FIRST_PROBE_SHORTEST..=PROBE_LONGEST)), Relaxed);
        }
        self.next_change.store(decision.next_change(self.base), Relaxed);
        self.byte.store(byte, Relaxed);
        let (old_state, old_cause) = (decision.state, decision.cause);
        (decision.state, decision.cause) = (state, cause);
        if old_cause != cause {
            // Passes of another time.
            self.passes.iter().for_each(|passes| passes.store(0, Relaxed));
        }
        if (old_state, old_cause) == (state, cause) {
            return;
        }
        decision.since = Instant::now();
        let changed = telemetry::Changed { name: self.name(), from: old_state, to: state, cause };
        if let Some(log) = &decision.log {
            log.push(self.name().clone(), telemetry::KIND, changed.fields());
        }
        let flag = decision.flag.clone();
        // A slow subscriber holds up nobody else.
        drop(decision);
        changed.tell(flag.as_ref());
        self.show_state();
    }
}

fn state_of(byte: u8) -> FeatureState {
    match byte & STATE {
        0 => FeatureState::Enabled,
        1 => FeatureState::Degraded,
        _ => FeatureState::Disabled,
    }
}

impl Decision {
    /// The state, why, and the share of the calls that is let through all the same.
    fn decide(&self, declaration: &Declaration) -> (FeatureState, Cause, Option<Ppm>) {
        if let Some(flag) = &self.flag {
            return (flag.state(), Cause::Operator, None);
        }
        if declaration.off_unless_known && !self.is_known {
            return (FeatureState::Disabled, Cause::Unknown, None);
        }
        let component = match self.component {
            Some(Level::Healthy) => FeatureState::Enabled,
            Some(Level::Degraded) => FeatureState::Degraded,
            // Nobody knows, so it may well work.
            None if !declaration.off_unless_known => FeatureState::Enabled,
            _ => FeatureState::Disabled,
        };
        let (auto, auto_cause, share) = match self.auto.as_ref().map(|auto| (auto.phase(), auto.share())) {
            Some((Phase::Degraded { .. }, _)) => (FeatureState::Degraded, Cause::Errors, None),
            Some((Phase::Returning { .. }, share)) => (FeatureState::Degraded, Cause::Recovering, share),
            _ => (FeatureState::Enabled, Cause::None, None),
        };
        // The first of the worst.
        let by_level = declaration.tier.at(self.level);
        if by_level > FeatureState::Enabled && by_level >= component && by_level >= auto {
            (by_level, Cause::Level, None)
        } else if component > FeatureState::Enabled && component >= auto {
            (component, Cause::Component, None)
        } else {
            (auto, auto_cause, share)
        }
    }

    fn next_change(&self, base: Instant) -> Nanos {
        let auto = self.auto.as_ref().map_or(Nanos::MAX, AutoDegrade::next_change);
        let flag = self.flag.as_ref().and_then(Flag::expires);
        auto.min(flag.map_or(Nanos::MAX, |at| nanos(at.saturating_duration_since(base))))
    }
}
