//! The state machine, free of any runtime: time comes in as nanoseconds, transitions go out to an [`Observer`].
//!
//! | from | on | to |
//! |---|---|---|
//! | closed | a failure, and [`Knobs`] and [`Windows`] say so | open |
//! | open | a call, once the wait has passed | half-open; that call is a probe |
//! | half-open | as many successful probes as the threshold asks for | closed, nothing counted |
//! | half-open | a failed probe | open |
//! | half-open | a neutral probe, or a lease that expires | half-open, a permit is free again; see [`probes`] for callers who leave |
//! | half-open | a lease that expires after a good head, and a call | as a successful probe |
//! | any | `isolate` | isolated |
//! | any but closed | `close` | closed, nothing counted |
//! | any | `reset` | closed, nothing counted |
//! | closed | `reload`, with a window of another kind or size | closed, nothing counted |
//! | any other | `reload`, the same | unchanged; when it closes, it counts in the new window |
//! | any | `reload` of anything else | unchanged |
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
//! - The deadline, after which a refusal must ask again: under that lock as well. And which windows there are. A
//!   result looks for them once. If it finds new ones just before their generation begins, it counts in the one that is
//!   about to be forgotten; and if that trips, the lock comes first, and under it the generation is another one.
//! - The [`Knobs`]: anybody, at any time. Each counts from when it is next looked at.
//!
//! A refusal reads the word, the deadline and the clock, and nothing else. So that it never pairs a word with a
//! deadline that doesn't refuse for it, a deadline is zero before the word that it belongs to is published, and after
//! that word has gone: zero has always passed, and sends the caller to the lock, under which both are looked at again.
//! A deadline in the future that a slow reader pairs with an older word belongs to a later time of refusing, so that
//! the refusal is right all the same.

mod buckets;
mod closed;
mod history;
mod knobs;
mod probes;
mod rare;
mod recovery;
mod ring;
mod share;
mod slow;
pub(crate) mod sync;
mod types;
mod wait;
mod windows;
mod word;

#[cfg(all(test, backstop_loom))]
mod interleavings;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::sync::OnceLock;

use crate::transition::{Transition, TransitionReason};

use backstop_core::{CircuitState, Verdict};
use rare::Rare;
use sync::{AtomicU64, Ordering};
use windows::Windows;
use word::{Generation, Phase, Word};

pub(crate) use knobs::Knobs;
pub(crate) use share::Share;
pub(crate) use slow::SlowRate;
pub(crate) use types::{Admission, Counted, ErrorOf, Finished, Observer, Refused, Settings, Turn};
pub(crate) use wait::WaitRule;
pub(crate) use windows::{Last, Trip};
pub(crate) use word::MAX_CALLS;

/// Nanoseconds since an epoch of the caller's.
pub(crate) type Nanos = u64;

/// After how many of its longest waits what a circuit knows of its dependency means nothing any more. Even an open circuit
/// lets a call through after one.
const MEANINGLESS_AFTER: u64 = 10;

/// A circuit.
#[derive(Debug)]
pub(crate) struct Circuit<O: Observer> {
    /// A [`Word`].
    word: AtomicU64,
    rare: OnceLock<Box<Rare<O::Listeners>>>,
    /// Those that it was made with, where there are any.
    windows: Option<Box<Windows>>,
    observer: O,
}

impl<O: Observer> Circuit<O> {
    pub(crate) fn new(settings: &Settings, observer: O) -> Self {
        let windows = Windows::new(settings, Generation::FIRST);
        let word = windows.first_word(Generation::FIRST);
        let circuit = Self {
            word: AtomicU64::new(word.bits()),
            rare: OnceLock::new(),
            windows: (!windows.are_none()).then(|| Box::new(windows)),
            observer,
        };
        if cfg!(backstop_loom) {
            // That it is made once is what the standard library promises. So the model checker needn't try that.
            circuit.rare();
        }
        circuit
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

    /// Lets a call through, or refuses it. How much time its caller has left is asked only where it may be a probe.
    #[inline]
    pub(crate) fn admit(
        &self,
        now: impl FnOnce() -> Nanos,
        time_left: impl FnOnce() -> Option<Nanos>,
    ) -> Result<Admission, Refused> {
        let word = self.load();
        if word.is_closed() {
            return Ok(Admission::new(word.generation(), None));
        }
        self.admit_unless_refused(word, now(), time_left)
    }

    #[cold]
    fn admit_unless_refused(
        &self,
        word: Word,
        now: Nanos,
        time_left: impl FnOnce() -> Option<Nanos>,
    ) -> Result<Admission, Refused> {
        if let Some(refused) = self.refusal(word, || now) {
            return Err(refused);
        }
        let (result, transition) = self.admit_locked(now, time_left());
        self.report(transition, &|| None);
        result
    }

    /// What a prober may do now.
    pub(crate) fn turn(&self, now: Nanos) -> Turn {
        if matches!(self.load().phase(), Phase::Closed | Phase::Forced) {
            return Turn::Idle;
        }
        let (turn, transition) = self.turn_locked(now);
        self.report(transition, &|| None);
        turn
    }

    /// Whether the circuit is open or half-open, and a call that came now might be a probe.
    pub(crate) fn may_be_tried(&self, now: Nanos) -> bool {
        let word = self.load();
        !word.is_closed() && self.refusal(word, || now).is_none()
    }

    /// Whether a success, quick enough, would leave the circuit as it is. Then there is nothing to record.
    #[inline]
    pub(crate) fn is_unchanged_by_success(&self, admission: &Admission) -> bool {
        // Where the word is of a later generation, the success wouldn't count at all.
        let word = self.load();
        admission.lease.is_none()
            && word.is_unchanged_by_success()
            && (!word.counts_slow() || self.windows().is_unchanged_by_quick_call())
    }

    /// Takes an admission back, after a success that was quick.
    #[inline]
    pub(crate) fn record_quick_success(&self, admission: Admission, now: impl Fn() -> Nanos) {
        let Admission { generation, lease: None, .. } = admission else {
            return self.record(admission, Verdict::Success, now);
        };
        let windows = self.windows();
        self.count_success(&windows, generation, false, &now);
        if let Some(slow) = &windows.slow {
            slow.add_by_time(generation, false, now);
        }
    }

    /// Takes an admission back, with what came of the call.
    pub(crate) fn record(&self, admission: Admission, finished: impl Into<Finished>, now: impl Fn() -> Nanos) {
        self.record_failed(admission, finished, now, &|| None);
    }

    /// The same, with the error that the call failed with.
    pub(crate) fn record_failed(
        &self,
        admission: Admission,
        finished: impl Into<Finished>,
        now: impl Fn() -> Nanos,
        error: ErrorOf<'_>,
    ) {
        let Admission { generation, lease, .. } = admission;
        let finished = finished.into();
        if let Some(lease) = lease {
            let transition = self.end_probe(&admission, lease, finished, now());
            return self.report(transition, error);
        }
        let windows = self.windows();
        match finished.verdict {
            Verdict::Success => self.count_success(&windows, generation, finished.slow, &now),
            Verdict::Failure => self.count_failure(&windows, generation, &finished, &now, error),
            Verdict::Neutral => return,
        }
        let Some(slow) = &windows.slow else { return };
        slow.add_by_time(generation, finished.slow, &now);
        if finished.slow {
            let now = now();
            windows.note(now);
            let (slow, calls) = windows.counted_slow(self.load(), now);
            if self.observer.knobs().slow.is_reached(slow, calls) {
                let transition = self.trip_by_slow_calls(generation, &windows, now, finished.asked);
                self.report(transition, error);
            }
        }
    }

    /// The head of a call's response is good, and its body is still to come.
    ///
    /// Should nobody learn how that ends, the probe is a success when its lease expires.
    pub(crate) fn head_is_good(&self, admission: &mut Admission) {
        if let Some(lease) = admission.lease {
            let mut recovery = self.lock();
            admission.counts_while_leased |= recovery.head_of_probe_is_good(admission.generation, lease);
        }
    }

    /// Keeps transitions from now on, to be read one by one. Returns how many there have been.
    pub(crate) fn keep_history(&self) -> u64 {
        self.lock().keep_history()
    }

    /// The first transition that is kept after that one.
    pub(crate) fn transition_after(&self, seq: u64) -> Option<Transition> {
        self.lock_if_made()?.transition_after(seq)
    }

    pub(crate) fn state(&self) -> CircuitState {
        state(self.load().phase())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock_if_made().map_or(0, |recovery| recovery.generation())
    }

    /// How much longer an open circuit refuses every call; zero where its wait has passed, `None` where it isn't open.
    pub(crate) fn remaining_wait(&self, now: Nanos) -> Option<Nanos> {
        self.open_until().map(|until| until.saturating_sub(now))
    }

    /// When the wait of an open circuit ends.
    pub(crate) fn open_until(&self) -> Option<Nanos> {
        // Under the lock, so that word and deadline belong together.
        let _recovery = self.lock_if_made()?;
        (self.load().phase() == Phase::Open).then(|| self.deadline())
    }

    pub(crate) fn counted(&self, now: Nanos) -> Counted {
        let recovery = self.lock_if_made();
        let word = self.load();
        match (word.phase(), recovery) {
            (Phase::Closed, _) => {
                let windows = self.windows();
                let (failures, calls) = windows.counted(word, now);
                let (slow, _) = windows.counted_slow(word, now);
                Counted { calls, failures, slow, ..Counted::default() }
            }
            (Phase::Probing | Phase::Saturated, Some(recovery)) => Counted {
                probes: recovery.probes().in_flight(now),
                probe_successes: recovery.probes().successes(),
                ..Counted::default()
            },
            _ => Counted::default(),
        }
    }

    /// Whether nothing worth keeping would be lost with the circuit. It is closed and has nothing counted; or what it knows
    /// is so old that it means nothing any more: a failure, the end of its wait, or its last probe's lease.
    ///
    /// Only somebody who has the circuit alone may act on that.
    pub(crate) fn is_spare(&self, now: Nanos) -> bool {
        let recovery = self.lock_if_made();
        let word = self.load();
        let rule = self.observer.knobs().recovery();
        let long = rule.max_wait.saturating_mul(MEANINGLESS_AFTER);
        let is_long_ago = |then: Nanos| then.saturating_add(long) <= now;
        match (word.phase(), recovery) {
            (Phase::Closed, _) => {
                let windows = self.windows();
                let (failures, _) = windows.counted(word, now);
                let (slow, _) = windows.counted_slow(word, now);
                failures == 0 && slow == 0 || windows.are_older_than(long, word, now)
            }
            // A call after the wait would have made it half-open.
            (Phase::Open, _) => is_long_ago(self.deadline()),
            (Phase::Probing | Phase::Saturated, Some(recovery)) => {
                is_long_ago(recovery.probes().leased_at().saturating_add(rule.probe_lease))
            }
            (Phase::Probing | Phase::Saturated | Phase::Forced, _) => false,
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

    fn report(&self, transition: Option<Transition>, error: ErrorOf<'_>) {
        if let Some(transition) = &transition {
            self.observer.transition(transition, error, self);
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
