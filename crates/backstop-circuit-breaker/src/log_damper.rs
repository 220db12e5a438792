//! Which transitions are logged above `DEBUG`, so that a circuit that opens again and again is a few lines.
//!
//! | transition | is logged |
//! |---|---|
//! | opens for the first time, or after 10 min in which it was closed | always: an episode begins |
//! | opens otherwise | 1, 2, 4, … min after the last such line of the episode, at most 1 h |
//! | lets probes through, or a growing share | once each in an episode |
//! | closes | if the last line says that it is open |
//! | is set by hand | always |
//!
//! There are no timers: transitions find what is due. The circuits of a keyed layer together have 10 lines for episodes, and
//! another one each minute.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use crate::{CircuitState, Transition, TransitionReason, state::Nanos};

const MINUTE: Nanos = 60_000_000_000;
/// How long a circuit is closed when its episode ends.
const QUIET: Nanos = 10 * MINUTE;
const LONGEST_GAP: Nanos = 60 * MINUTE;
/// How many lines the circuits of a layer may save up.
const BURST: u64 = 10;

/// What was logged of one circuit.
#[derive(Debug, Default)]
pub(crate) struct LogDamper(Mutex<Episode>);

#[derive(Debug, Default)]
struct Episode {
    /// When the next opening is logged, and the gap before it: 0 without an episode.
    next: Nanos,
    gap: Nanos,
    closed_at: Option<Nanos>,
    probes_were_logged: bool,
    ramp_was_logged: bool,
    /// The last line says that the circuit is open.
    is_shown_open: bool,
}

/// What the circuits of one layer share.
#[derive(Debug, Default)]
pub(crate) struct LogBudget {
    /// Until when the lines so far are paid for, one a minute.
    paid_until: Mutex<Nanos>,
    left_out: AtomicU64,
}

impl LogDamper {
    /// Whether `transition` is logged above `DEBUG`: with the number of transitions that were left out since the last line.
    pub(crate) fn admit(&self, transition: &Transition, now: Nanos, budget: &LogBudget) -> Option<u64> {
        let mut episode = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        budget.count(episode.admits(transition, now, budget))
    }
}

impl Episode {
    fn admits(&mut self, transition: &Transition, now: Nanos, budget: &LogBudget) -> bool {
        let is_closed = transition.to == CircuitState::Closed;
        if is_closed {
            self.closed_at = Some(now);
        }
        match (transition.reason, transition.to) {
            (TransitionReason::Manual, _) => self.is_shown_open = !is_closed,
            (_, CircuitState::Open) => return self.admits_opening(now, budget),
            (_, CircuitState::Closed) => return std::mem::take(&mut self.is_shown_open),
            (_, CircuitState::Recovering) => {
                return self.is_shown_open && !std::mem::replace(&mut self.ramp_was_logged, true);
            }
            _ => return self.is_shown_open && !std::mem::replace(&mut self.probes_were_logged, true),
        }
        true
    }

    fn admits_opening(&mut self, now: Nanos, budget: &LogBudget) -> bool {
        let was_closed = self.closed_at.take();
        if self.gap == 0 || was_closed.is_some_and(|at| now.saturating_sub(at) >= QUIET) {
            *self = Self::default();
        } else if now < self.next {
            return false;
        }
        if !budget.pay(now) {
            return false;
        }
        self.gap = if self.gap == 0 { MINUTE } else { LONGEST_GAP.min(self.gap * 2) };
        self.next = now.saturating_add(self.gap);
        self.is_shown_open = true;
        true
    }
}

impl LogBudget {
    fn pay(&self, now: Nanos) -> bool {
        let mut paid_until = self.paid_until.lock().unwrap_or_else(PoisonError::into_inner);
        let owed = paid_until.saturating_sub(now);
        let is_left = owed <= (BURST - 1) * MINUTE;
        if is_left {
            *paid_until = now.saturating_add(owed + MINUTE);
        }
        is_left
    }

    fn count(&self, is_logged: bool) -> Option<u64> {
        if is_logged {
            return Some(self.left_out.swap(0, Relaxed));
        }
        self.left_out.fetch_add(1, Relaxed);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CircuitMode;

    /// What a circuit does, and when, in seconds; whether that is logged, and with how many left out.
    #[derive(Default)]
    struct Circuit {
        damper: LogDamper,
        budget: LogBudget,
        seq: u64,
    }

    const FAILURES: TransitionReason = TransitionReason::Failures { failures: 5, calls: 5 };

    impl Circuit {
        fn admit(&mut self, second: u64, to: CircuitState, reason: TransitionReason) -> Option<u64> {
            self.seq += 1;
            let transition =
                Transition { seq: self.seq, from: to, to, mode: CircuitMode::Enforcing, reason, generation: self.seq };
            self.damper.admit(&transition, second * 1_000_000_000, &self.budget)
        }

        fn opens(&mut self, second: u64) -> Option<u64> {
            self.admit(second, CircuitState::Open, FAILURES)
        }

        fn probes(&mut self, second: u64) -> Option<u64> {
            self.admit(second, CircuitState::HalfOpen, TransitionReason::WaitPassed)
        }

        fn opens_again(&mut self, second: u64) -> Option<u64> {
            self.admit(second, CircuitState::Open, TransitionReason::ProbeFailed)
        }

        fn closes(&mut self, second: u64) -> Option<u64> {
            self.admit(second, CircuitState::Closed, TransitionReason::ProbesSucceeded)
        }

        fn is_set(&mut self, second: u64, to: CircuitState) -> Option<u64> {
            self.admit(second, to, TransitionReason::Manual)
        }
    }

    #[test]
    fn an_outage_is_three_lines() {
        let mut circuit = Circuit::default();
        for start in [0, 1_000] {
            assert_eq!(circuit.opens(start), Some(0));
            assert_eq!(circuit.probes(start + 60), Some(0));
            assert_eq!(circuit.closes(start + 60), Some(0));
        }
    }

    #[test]
    fn a_long_outage_is_a_line_after_1_2_4_and_more_minutes_then_each_hour() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.opens(0), Some(0));
        let logged = (1..=480).filter_map(|minute| {
            let probes = circuit.probes(minute * 60);
            assert_eq!(probes.is_some(), minute == 1);
            circuit.opens_again(minute * 60).map(|left_out| (minute, left_out))
        });
        let expected = [(1, 0), (3, 3), (7, 7), (15, 15), (31, 31), (63, 63), (123, 119)];
        let expected = expected.into_iter().chain([183, 243, 303, 363, 423].map(|minute| (minute, 119)));
        assert!(logged.eq(expected));
        assert_eq!(circuit.closes(480 * 60), Some(114));
        assert_eq!(circuit.closes(480 * 60 + 1), None, "it is shown closed");
    }

    #[test]
    fn a_circuit_that_flaps_is_shown_closed_whenever_it_was_shown_open_and_closes() {
        let mut circuit = Circuit::default();
        let mut lines = 0;
        for minute in 0..240 {
            let opens = circuit.opens(minute * 60);
            let probes = circuit.probes(minute * 60 + 50);
            let closes = circuit.closes(minute * 60 + 50);
            assert_eq!((opens.is_some(), probes.is_some()), (closes.is_some(), minute == 0));
            lines += [opens, probes, closes].iter().flatten().count();
        }
        assert_eq!(lines, 2 * [0, 1, 3, 7, 15, 31, 63, 123, 183].len() + 1);
    }

    #[test]
    fn an_episode_ends_when_the_circuit_was_closed_for_ten_minutes() {
        let mut circuit = Circuit::default();
        assert_eq!(circuit.opens(0), Some(0));
        assert_eq!(circuit.closes(10), Some(0));
        assert_eq!(circuit.opens(59), None);
        assert_eq!(circuit.closes(100), None);
        assert_eq!(circuit.opens(100 + 599), Some(2), "due, and not a new episode");
        assert_eq!(circuit.closes(700), Some(0));
        assert_eq!(circuit.opens(701), None);
        assert_eq!(circuit.closes(800), None);
        assert_eq!(circuit.opens(800 + 600), Some(2));
        assert_eq!(circuit.probes(1_500), Some(0), "the first of the new episode");
        assert_eq!(circuit.opens_again(1_500), Some(0), "the gap is one minute again");
    }

    #[test]
    fn what_an_operator_does_is_always_logged() {
        let mut circuit = Circuit::default();
        for second in 0..20 {
            assert_eq!(circuit.is_set(second, CircuitState::Isolated), Some(0));
            assert_eq!(circuit.is_set(second, CircuitState::Closed), Some(0));
        }
    }

    #[test]
    fn the_circuits_of_a_layer_share_ten_lines_and_one_a_minute() {
        let budget = LogBudget::default();
        let open = |second: u64| {
            // Another circuit each time.
            let reason = FAILURES;
            let (from, to) = (CircuitState::Closed, CircuitState::Open);
            let transition = Transition { seq: 1, from, to, mode: CircuitMode::Enforcing, reason, generation: 1 };
            LogDamper::default().admit(&transition, second * 1_000_000_000, &budget)
        };
        let at_once: Vec<_> = (0..1_000).map(|_| open(0)).collect();
        assert!(at_once[..10].iter().all(|left_out| *left_out == Some(0)));
        assert!(at_once[10..].iter().all(Option::is_none));
        assert_eq!([open(59), open(60), open(61)], [None, Some(991), None]);
        assert_eq!((0..20).filter_map(|_| open(3_600)).collect::<Vec<_>>(), [1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
}
