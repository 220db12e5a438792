//! What all circuits of a layer have in common: their name, their clock, and what they are told.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{ConfigError, ErrorText, Name, Outcome, Pushback, Verdict};
use tokio::time::Instant;

use crate::{
    CircuitBreakerConfig, OnDrop,
    config::Settings,
    jitter::Jitter,
    metrics::LastRecorder,
    state::{Finished, Knobs, Nanos},
};

/// A time that never comes.
const NEVER: Nanos = Nanos::MAX;

/// The numbers are told anew by a reload, each by itself: calls that see some of them before and some after it are no harm.
#[derive(Debug)]
pub(crate) struct Common {
    name: Name,
    epoch: Instant,
    knobs: Knobs,
    /// After how long a dropped call is a failure: zero where it always is.
    dropped_after: AtomicU64,
    /// How long a slow call takes.
    slow_after: AtomicU64,
    /// After how long a body that is still coming counts by its head: the length of a probe's lease.
    watched_for: AtomicU64,
    /// The longest wait that the dependency may ask for: zero where that isn't respected.
    respects: AtomicU64,
    refusals: Jitter,
    error_text: ErrorText,
    /// Whether they are many, of one name.
    is_keyed: bool,
    reloading: Mutex<()>,
    /// Whether it was told that a circuit is asked inside its own probe.
    told_of_nesting: AtomicBool,
    /// How many transitions there have been, of all circuits.
    transitions: AtomicU64,
    shown_to: LastRecorder,
}

impl Common {
    pub(crate) fn new(name: Name, settings: &Settings, error_text: ErrorText, is_keyed: bool) -> Self {
        let common = Self {
            name,
            epoch: Instant::now(),
            knobs: Knobs::new(&settings.circuit),
            dropped_after: AtomicU64::new(NEVER),
            slow_after: AtomicU64::new(NEVER),
            watched_for: AtomicU64::new(NEVER),
            respects: AtomicU64::new(0),
            refusals: Jitter::new(settings.circuit.wait.seed),
            error_text,
            is_keyed,
            reloading: Mutex::default(),
            told_of_nesting: AtomicBool::new(false),
            transitions: AtomicU64::new(0),
            shown_to: LastRecorder::default(),
        };
        common.set_times(settings);
        common
    }

    /// Changes all but the name and the seed, and then has the circuits told, one such change after another.
    pub(crate) fn reload(&self, settings: &Settings, tell_circuits: impl FnOnce()) {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.knobs.set(&settings.circuit);
        self.set_times(settings);
        tell_circuits();
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
        self.refusals.set(settings.retry_after_jitter);
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) const fn knobs(&self) -> &Knobs {
        &self.knobs
    }

    pub(crate) const fn error_text(&self) -> &ErrorText {
        &self.error_text
    }

    pub(crate) const fn is_keyed(&self) -> bool {
        self.is_keyed
    }

    /// Whether this is the first time that a circuit is asked inside its own probe.
    pub(crate) fn is_first_nesting(&self) -> bool {
        !self.told_of_nesting.swap(true, Relaxed)
    }

    pub(crate) fn transitions(&self) -> u64 {
        self.transitions.load(Relaxed)
    }

    pub(crate) fn count_transition(&self) {
        self.transitions.fetch_add(1, Relaxed);
    }

    /// The wait of a circuit that opens for the first time.
    pub(crate) fn first_wait(&self) -> Duration {
        Duration::from_nanos(self.knobs.first_wait())
    }

    /// Whether nobody has been shown a state who records metrics now.
    pub(crate) fn has_another_recorder(&self) -> bool {
        self.shown_to.is_another()
    }

    /// What `config` says, if it can be taken over.
    ///
    /// # Errors
    /// Where it can't.
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

    /// Whether it matters since when a call has been pending.
    pub(crate) fn asks_for_times(&self) -> bool {
        !matches!(self.dropped_after.load(Relaxed), 0 | NEVER) || self.slow_after.load(Relaxed) != NEVER
    }

    /// Whether a body that was first pending at `since`, and is at `now`, counts by its head.
    pub(crate) fn counts_by_head(&self, since: NonZero<Nanos>, now: NonZero<Nanos>) -> bool {
        now.get().saturating_sub(since.get()) >= self.watched_for.load(Relaxed)
    }

    /// Whether a call is slow that has been pending since then, and spent this much of that waiting for its caller.
    pub(crate) fn is_slow(&self, since: Option<NonZero<Nanos>>, waited: Nanos) -> bool {
        self.has_passed(&self.slow_after, since.map(|since| since.saturating_add(waited)))
    }

    /// Whether a dropped call is a failure that has been pending since then.
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

    /// What a refused caller is told to wait where the circuit stays open for `wait`.
    pub(crate) fn retry_after(&self, wait: Nanos) -> Duration {
        let wait = Duration::from_nanos(wait);
        wait + self.refusals.of(wait)
    }
}

pub(crate) fn nanos(duration: Duration) -> Nanos {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}
