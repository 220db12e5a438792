//! The state machine, free of any runtime: time comes in as nanoseconds, transitions go out to an [`Observer`].
//!
//! | from | on | to |
//! |---|---|---|
//! | closed | a failure, and the [`Policy`] says so | open |
//! | open | a call, once the wait has passed | half-open; that call is a probe |
//! | half-open | as many successful probes as the threshold asks for | closed, nothing counted |
//! | half-open | a failed probe | open |
//! | half-open | a neutral probe, or a lease that expires | half-open, a permit is free again |
//! | any | `isolate` | isolated |
//! | any but closed | `close` | closed, nothing counted |
//! | any | `reset` | closed, nothing counted |
//!
//! Every transition starts a generation. An admission carries the generation that it was given in, and its result
//! counts in that generation or not at all.
//!
//! # Who may write what
//!
//! - A closed circuit's count and position: anybody, by compare-and-swap on the [`Word`]. A success that changes
//!   nothing writes nothing.
//! - The phase and the generation: only who holds the lock of [`Recovery`]. So what was read under it stays true under
//!   it. The failure that trips takes the lock too, but is still counted by the compare-and-swap that opens.
//! - The deadline, after which a refusal must ask again: under that lock as well.
//!
//! A refusal reads the word, the deadline and the clock, and nothing else. So that it never pairs a word with a
//! deadline that doesn't refuse for it, a deadline is zero before the word that it belongs to is published, and after
//! that word has gone: zero has always passed, and sends the caller to the lock, under which both are looked at again.
//! A deadline in the future that a slow reader pairs with an older word belongs to a later time of refusing, so that
//! the refusal is right all the same.

mod buckets;
mod closed;
mod history;
mod policy;
mod probes;
mod recovery;
mod ring;
mod slow;
mod sync;
mod types;
mod wait;
mod word;

#[cfg(all(test, backstop_loom))]
mod interleavings;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::sync::PoisonError;

use crate::transition::{Transition, TransitionReason};

use backstop_core::{CircuitState, Verdict};
use policy::Policy;
use recovery::Recovery;
use slow::SlowCalls;
use sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use word::{Generation, Phase, Word};

pub(crate) use policy::{Last, SHARE_UNIT, Trip};
pub(crate) use slow::SlowRate;
pub(crate) use types::{Admission, Counted, Finished, Observer, Refused, Settings};
pub(crate) use wait::WaitRule;
pub(crate) use word::MAX_CALLS;

/// Nanoseconds since an epoch of the caller's.
pub(crate) type Nanos = u64;

/// A circuit. Aligned so that its word shares a cache line with nothing that healthy calls write, such as reference
/// counts.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Circuit<O> {
    /// A [`Word`].
    word: AtomicU64,
    /// When an open circuit takes its first probe, or a saturated one's earliest lease expires.
    deadline: AtomicU64,
    policy: Policy,
    slow: Option<Box<SlowCalls>>,
    recovery: Mutex<Recovery>,
    observer: O,
}

impl<O: Observer> Circuit<O> {
    pub(crate) fn new(settings: Settings, observer: O) -> Self {
        Self {
            word: AtomicU64::new(Word::new(Phase::Closed, Generation::FIRST).bits()),
            deadline: AtomicU64::new(0),
            policy: Policy::new(settings.trip),
            slow: settings.slow.map(|rate| Box::new(SlowCalls::new(rate))),
            recovery: Mutex::new(Recovery::new(settings)),
            observer,
        }
    }

    pub(crate) const fn observer_mut(&mut self) -> &mut O {
        &mut self.observer
    }

    pub(crate) const fn observer(&self) -> &O {
        &self.observer
    }

    /// How a call that came now would be refused, if it would be. Changes nothing.
    #[inline]
    pub(crate) fn would_refuse(&self, now: impl FnOnce() -> Nanos) -> Option<Refused> {
        let word = self.load();
        if word.is_closed() {
            return None;
        }
        self.refusal(word, now)
    }

    #[cold]
    fn refusal(&self, word: Word, now: impl FnOnce() -> Nanos) -> Option<Refused> {
        match word.phase() {
            Phase::Closed | Phase::Probing => None,
            Phase::Open | Phase::Saturated => {
                let (deadline, now) = (self.deadline(), now());
                (now < deadline).then(|| refused(word.phase(), deadline, now))
            }
            Phase::Forced => Some(refused(Phase::Forced, 0, 0)),
        }
    }

    /// Lets a call through, or refuses it.
    #[inline]
    pub(crate) fn admit(&self, now: impl FnOnce() -> Nanos) -> Result<Admission, Refused> {
        let word = self.load();
        if word.is_closed() {
            return Ok(Admission { generation: word.generation(), lease: None });
        }
        self.admit_unless_refused(word, now())
    }

    #[cold]
    fn admit_unless_refused(&self, word: Word, now: Nanos) -> Result<Admission, Refused> {
        if let Some(refused) = self.refusal(word, || now) {
            return Err(refused);
        }
        let (result, transition) = self.admit_locked(now);
        self.report(transition);
        result
    }

    /// Whether a success, quick enough, would leave the circuit as it is. Then there is nothing to record.
    #[inline]
    pub(crate) fn is_unchanged_by_success(&self, admission: &Admission) -> bool {
        // Where the word is of a later generation, the success wouldn't count at all.
        admission.lease.is_none()
            && self.policy.is_unchanged_by_success(self.load())
            && self.slow.as_ref().is_none_or(|slow| slow.is_unchanged_by_quick_call())
    }

    /// Takes an admission back, with what came of the call.
    pub(crate) fn record(&self, admission: Admission, finished: impl Into<Finished>, now: impl Fn() -> Nanos) {
        let Admission { generation, lease } = admission;
        let finished = finished.into();
        match (lease, finished.verdict) {
            (None, Verdict::Success) => self.count_success(generation, &now),
            (None, Verdict::Failure) => self.count_failure(generation, finished.asked, &now),
            (None, Verdict::Neutral) => return,
            (Some(lease), _) => {
                let transition = self.end_probe(generation, lease, finished, now());
                return self.report(transition);
            }
        }
        if let Some(slow) = &self.slow
            && slow.count(generation, finished.slow, &now)
        {
            let transition = self.trip_by_slow_calls(generation, slow, now(), finished.asked);
            self.report(transition);
        }
    }

    /// Keeps transitions from now on, to be read one by one. Returns how many there have been.
    pub(crate) fn keep_history(&self) -> u64 {
        self.lock().keep_history()
    }

    /// The first transition that is kept after that one.
    pub(crate) fn transition_after(&self, seq: u64) -> Option<Transition> {
        self.lock().transition_after(seq)
    }

    pub(crate) fn state(&self) -> CircuitState {
        state(self.load().phase())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock().generation()
    }

    /// How much longer an open circuit refuses every call; zero where its wait has passed, `None` where it isn't open.
    pub(crate) fn remaining_wait(&self, now: Nanos) -> Option<Nanos> {
        // Under the lock, so that word and deadline belong together.
        let _recovery = self.lock();
        (self.load().phase() == Phase::Open).then(|| self.deadline().saturating_sub(now))
    }

    pub(crate) fn counted(&self, now: Nanos) -> Counted {
        let recovery = self.lock();
        let word = self.load();
        match word.phase() {
            Phase::Closed => {
                let (failures, calls) = self.policy.counted(word, now);
                let slow = self.slow.as_ref().map_or(0, |slow| slow.counted(word.generation(), now).0);
                Counted { calls, failures, slow, ..Counted::default() }
            }
            Phase::Probing | Phase::Saturated => Counted {
                probes: recovery.probes().in_flight(),
                probe_successes: recovery.probes().successes(),
                ..Counted::default()
            },
            Phase::Open | Phase::Forced => Counted::default(),
        }
    }

    fn load(&self) -> Word {
        // Acquire: a deadline read after this is none from before this word.
        Word::from_bits(self.word.load(Ordering::Acquire))
    }

    fn replace(&self, current: Word, next: Word) -> Result<(), Word> {
        // Release, like every write of the word: the failure that opens the circuit publishes the zero deadline by it.
        self.word
            .compare_exchange_weak(current.bits(), next.bits(), Ordering::AcqRel, Ordering::Acquire)
            .map(drop)
            .map_err(Word::from_bits)
    }

    fn deadline(&self) -> Nanos {
        // Relaxed: ordered by the word, or by the lock.
        self.deadline.load(Ordering::Relaxed)
    }

    fn set_deadline(&self, deadline: Nanos) {
        self.deadline.store(deadline, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Recovery> {
        // Nothing that could panic runs under it, and nothing is left half done.
        self.recovery.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn report(&self, transition: Option<Transition>) {
        if let Some(transition) = &transition {
            self.observer.transition(transition, self);
        }
    }
}

fn refused(phase: Phase, deadline: Nanos, now: Nanos) -> Refused {
    let wait = if phase == Phase::Open { deadline.saturating_sub(now) } else { 0 };
    Refused { state: state(phase), wait }
}

const fn state(phase: Phase) -> CircuitState {
    match phase {
        Phase::Closed => CircuitState::Closed,
        Phase::Open => CircuitState::Open,
        Phase::Probing | Phase::Saturated => CircuitState::HalfOpen,
        Phase::Forced => CircuitState::Isolated,
    }
}
