//! Reading a circuit's state.

use crate::CircuitMode;

use super::{
    CircuitState, Nanos, Transition,
    call::Counted,
    circuit::{Circuit, Observer, shown_state, state},
    packed_state::Phase,
};

/// After this many of its longest waits, what a circuit knows about its dependency is out of date. Even an open circuit admits
/// a call after one wait.
const MEANINGLESS_AFTER: u64 = 10;

impl<O: Observer> Circuit<O> {
    /// Keeps transitions from now on. Returns how many there were so far.
    pub(crate) fn keep_history(&self) -> u64 {
        self.lock().keep_history()
    }

    /// The first kept transition after number `seq`.
    pub(crate) fn transition_after(&self, seq: u64) -> Option<Transition> {
        self.lock_if_made()?.transition_after(seq)
    }

    pub(crate) fn mode(&self) -> CircuitMode {
        self.load().mode()
    }

    /// The state as everything else sees it.
    pub(crate) fn state(&self) -> CircuitState {
        shown_state(self.load())
    }

    /// The state that an observing circuit keeps to itself.
    pub(crate) fn observed_state(&self) -> CircuitState {
        state(self.load().phase())
    }

    pub(crate) fn generation(&self) -> u64 {
        self.lock_if_made().map_or(0, |recovery| recovery.generation())
    }

    /// How much longer an open circuit refuses every call. Zero if its wait has passed, `None` if it isn't open.
    pub(crate) fn remaining_wait(&self, now: Nanos) -> Option<Nanos> {
        self.open_until().map(|until| until.saturating_sub(now))
    }

    /// When the wait of an open circuit ends.
    pub(crate) fn open_until(&self) -> Option<Nanos> {
        // Under the lock, so that word and deadline belong together.
        let _recovery = self.lock_if_made()?;
        (shown_state(self.load()) == CircuitState::Open).then(|| self.deadline())
    }

    /// The share of calls that the circuit admits without probing.
    pub(crate) fn admitted_share(&self) -> f64 {
        let word = self.load();
        match shown_state(word) {
            CircuitState::Closed => 1.0,
            CircuitState::Recovering => self.ramp().share(),
            CircuitState::Open | CircuitState::HalfOpen | CircuitState::Isolated => 0.0,
        }
    }

    /// Whether the step of a ramp is over, so that a call that it refuses begins the next one.
    pub(crate) fn step_is_due(&self, now: Nanos) -> bool {
        let word = self.load();
        shown_state(word) == CircuitState::Recovering && self.ramp().is_over(word.generation(), now)
    }

    pub(crate) fn counted(&self, now: Nanos) -> Counted {
        let recovery = self.lock_if_made();
        let word = self.load();
        match (word.phase(), recovery) {
            (Phase::Closed | Phase::Ramp, _) => {
                let windows = self.windows();
                let (failures, calls) = windows.counted(word, now);
                let (slow, _) = windows.counted_slow(word, now);
                let in_a_row = windows.counted_in_a_row(word);
                Counted { calls, failures, in_a_row, slow, ..Counted::default() }
            }
            (Phase::Probing | Phase::Saturated, Some(recovery)) => Counted {
                probes: recovery.probes().in_flight(now),
                probe_successes: recovery.probes().successes(),
                ..Counted::default()
            },
            _ => Counted::default(),
        }
    }

    /// Whether dropping the circuit loses nothing of value: it is closed with nothing counted, or what it knows (its last
    /// failure, the end of its wait, its last probe's lease) is out of date.
    ///
    /// To act on that, the caller must hold the circuit exclusively.
    pub(crate) fn is_evictable(&self, now: Nanos) -> bool {
        let recovery = self.lock_if_made();
        let word = self.load();
        let rule = self.observer.settings().recovery();
        let long = rule.max_wait.saturating_mul(MEANINGLESS_AFTER);
        let is_long_ago = |then: Nanos| then.saturating_add(long) <= now;
        match (word.phase(), recovery) {
            (Phase::Closed, _) => {
                let windows = self.windows();
                let (failures, _) = windows.counted(word, now);
                let (slow, _) = windows.counted_slow(word, now);
                let in_a_row = windows.counted_in_a_row(word);
                failures + in_a_row + slow == 0 || windows.are_older_than(long, word, now)
            }
            // A call would have begun the next step.
            (Phase::Ramp, _) => is_long_ago(self.ramp().ends_in_any_case()),
            // A call after the wait would have made it half-open.
            (Phase::Open, _) => is_long_ago(self.deadline()),
            (Phase::Probing | Phase::Saturated, Some(recovery)) => {
                is_long_ago(recovery.probes().leased_at().saturating_add(rule.probe_lease))
            }
            (Phase::Probing | Phase::Saturated | Phase::Forced, _) => false,
        }
    }
}
