//! What all circuits of a layer share: name, clock and settings.

use std::{
    mem,
    num::NonZero,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{ConfigError, EventLog, Name, Outcome, Pushback, Verdict};
use backstop_kit::{ErrorText, Jitter, Registration};
use tokio::time::Instant;

use crate::{
    CircuitBreakerConfig, CircuitMode, OnDrop,
    config::Settings,
    log_damper::LogBudget,
    metrics::{CallMetrics, LastRecorder},
    state::{Finished, Nanos, SharedSettings, nanos},
    telemetry,
};

/// A time that never comes.
const NEVER: Nanos = Nanos::MAX;

/// A reload sets the numbers one by one. A call may see a mix of old and new ones, which does no harm.
#[derive(Debug)]
pub(crate) struct CircuitGroup {
    name: Name,
    metrics: CallMetrics,
    epoch: Instant,
    settings: SharedSettings,
    /// A call dropped after this time is a failure. Zero: every dropped call.
    dropped_after: AtomicU64,
    /// How long a slow call takes.
    slow_after: AtomicU64,
    /// An incomplete body counts by its head after this time: the length of a probe's lease.
    watched_for: AtomicU64,
    /// The longest wait that the dependency may ask for. Zero: `Retry-After` isn't respected.
    respects: AtomicU64,
    /// The share of the wait that jitter adds to `Retry-After` at most, as the bits of an `f64`.
    retry_after_jitter: AtomicU64,
    jitter: Jitter,
    error_text: ErrorText,
    /// Whether there is a circuit for each key.
    is_keyed: bool,
    /// What was configured last.
    checked: Mutex<Settings>,
    /// The inventory's log of transitions.
    event_log: OnceLock<EventLog>,
    /// Whether the `WARN` about a layer on both sides of a request was logged.
    nesting_was_reported: AtomicBool,
    /// How many transitions there have been, of all circuits.
    transitions: AtomicU64,
    shown_to: LastRecorder,
    log_budget: LogBudget,
    _registration: Registration,
}

impl CircuitGroup {
    pub(crate) fn new(name: Name, settings: &Settings, error_text: ErrorText, is_keyed: bool) -> Self {
        let kind = if is_keyed { "keyed-circuit-breaker" } else { "circuit-breaker" };
        let group = Self {
            _registration: Registration::new(kind, name.clone()),
            metrics: CallMetrics::new(&name),
            name,
            epoch: Instant::now(),
            settings: SharedSettings::new(&settings.circuit),
            dropped_after: AtomicU64::new(NEVER),
            slow_after: AtomicU64::new(NEVER),
            watched_for: AtomicU64::new(NEVER),
            respects: AtomicU64::new(0),
            retry_after_jitter: AtomicU64::new(0),
            jitter: Jitter::new(settings.circuit.wait.seed),
            error_text,
            is_keyed,
            checked: Mutex::new(settings.clone()),
            event_log: OnceLock::new(),
            nesting_was_reported: AtomicBool::new(false),
            transitions: AtomicU64::new(0),
            shown_to: LastRecorder::default(),
            log_budget: LogBudget::default(),
        };
        group.set_times(settings);
        group
    }

    /// Changes everything except name and seed, then calls `tell_circuits`. The lock makes reloads run one after
    /// another.
    pub(crate) fn reload(&self, settings: &Settings, tell_circuits: impl FnOnce()) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let mode = checked.circuit.mode;
        checked.clone_from(settings);
        self.settings.set(&settings.circuit);
        self.set_times(settings);
        tell_circuits();
        self.mode_changed(mode, settings.circuit.mode);
    }

    /// As [`reload`](Self::reload), for the mode alone.
    pub(crate) fn set_mode(&self, mode: CircuitMode, tell_circuits: impl FnOnce(&Settings)) {
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let before = mem::replace(&mut checked.circuit.mode, mode);
        tell_circuits(&checked);
        self.mode_changed(before, mode);
    }

    fn mode_changed(&self, before: CircuitMode, mode: CircuitMode) {
        if mode != before {
            telemetry::mode_changed(&self.name, mode);
        }
    }

    fn set_times(&self, settings: &Settings) {
        let dropped_after = match settings.on_drop {
            OnDrop::Failure => 0,
            OnDrop::FailureAfter(limit) => nanos(limit),
            OnDrop::Ignore => NEVER,
        };
        self.dropped_after.store(dropped_after, Relaxed);
        self.slow_after.store(settings.slow_after.unwrap_or(NEVER), Relaxed);
        self.watched_for.store(settings.circuit.probe_lease, Relaxed);
        self.respects.store(settings.respects.map_or(0, nanos), Relaxed);
        self.retry_after_jitter.store(settings.retry_after_jitter.to_bits(), Relaxed);
    }

    /// What was configured last.
    pub(crate) fn checked(&self) -> Settings {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn report_to(&self, log: &EventLog) {
        _ = self.event_log.set(log.clone());
    }

    pub(crate) fn event_log(&self) -> Option<&EventLog> {
        self.event_log.get()
    }

    /// What the circuits may log together.
    pub(crate) const fn log_budget(&self) -> &LogBudget {
        &self.log_budget
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    #[inline]
    pub(crate) const fn metrics(&self) -> &CallMetrics {
        &self.metrics
    }

    pub(crate) const fn settings(&self) -> &SharedSettings {
        &self.settings
    }

    pub(crate) const fn error_text(&self) -> &ErrorText {
        &self.error_text
    }

    pub(crate) const fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// Whether this is the first time that a circuit is asked inside its own probe.
    pub(crate) fn is_first_report_of_nesting(&self) -> bool {
        !self.nesting_was_reported.swap(true, Relaxed)
    }

    pub(crate) fn transitions(&self) -> u64 {
        self.transitions.load(Relaxed)
    }

    pub(crate) fn count_transition(&self) {
        self.transitions.fetch_add(1, Relaxed);
    }

    /// The wait of a circuit that opens for the first time.
    pub(crate) fn first_wait(&self) -> Duration {
        Duration::from_nanos(self.settings.first_wait())
    }

    /// Whether the state was never shown to the metrics recorder that is installed now.
    pub(crate) fn has_another_recorder(&self) -> bool {
        self.shown_to.is_another()
    }

    /// Checks `config`, which must have the layer's name.
    pub(crate) fn check(&self, config: CircuitBreakerConfig) -> Result<Settings, ConfigError> {
        let (name, settings) = config.check()?;
        if &name == self.name() {
            Ok(settings)
        } else {
            Err(ConfigError::new("name", name.to_string(), "the layer's own"))
        }
    }

    /// Never zero, so that zero can stand for "not yet".
    pub(crate) fn now(&self) -> NonZero<Nanos> {
        NonZero::<Nanos>::MIN.saturating_add(nanos(self.epoch.elapsed()))
    }

    /// Whether the time at which a call was first pending is needed.
    pub(crate) fn asks_for_times(&self) -> bool {
        !matches!(self.dropped_after.load(Relaxed), 0 | NEVER) || self.slow_after.load(Relaxed) != NEVER
    }

    /// Whether a body first pending at `since`, and still pending at `now`, counts by its head.
    pub(crate) fn counts_by_head(&self, since: NonZero<Nanos>, now: NonZero<Nanos>) -> bool {
        now.get().saturating_sub(since.get()) >= self.watched_for.load(Relaxed)
    }

    /// Whether a call pending since `since` is slow. `waited` is the part of that time spent waiting for the caller.
    pub(crate) fn is_slow(&self, since: Option<NonZero<Nanos>>, waited: Nanos) -> bool {
        self.has_passed(&self.slow_after, since.map(|since| since.saturating_add(waited)))
    }

    /// Whether dropping a call pending since `since` is a failure.
    pub(crate) fn is_failure_when_dropped(&self, since: Option<NonZero<Nanos>>) -> bool {
        self.dropped_after.load(Relaxed) == 0 || self.has_passed(&self.dropped_after, since)
    }

    fn has_passed(&self, limit: &AtomicU64, since: Option<NonZero<Nanos>>) -> bool {
        let limit = limit.load(Relaxed);
        limit != NEVER && since.is_some_and(|since| self.now().get().saturating_sub(since.get()) >= limit)
    }

    pub(crate) fn finished(&self, outcome: Outcome, slow: bool) -> Finished {
        let longest = self.respects.load(Relaxed);
        let asked = match outcome.pushback {
            Some(Pushback::After(wait)) if longest > 0 => Some(nanos(wait).min(longest)),
            _ => None,
        };
        // A neutral answer of the dependency asks the caller to come again (transient), and a refusal by a layer further in
        // is marked as unprocessed. Any other neutral end is the caller's doing.
        let abandoned = outcome.verdict == Verdict::Neutral && !outcome.transient && !outcome.unprocessed;
        Finished { verdict: outcome.verdict, slow, asked, abandoned }
    }

    /// `Retry-After` of a refusal while the circuit stays open for `wait`.
    pub(crate) fn retry_after(&self, wait: Nanos) -> Duration {
        // A wait is at most two days, which an `f64` holds to the nanosecond.
        let most = (wait as f64 * f64::from_bits(self.retry_after_jitter.load(Relaxed))) as Nanos;
        let jitter = if most == 0 { 0 } else { self.jitter.number(0..most.saturating_add(1)) };
        Duration::from_nanos(wait.saturating_add(jitter))
    }
}
