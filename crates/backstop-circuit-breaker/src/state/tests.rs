//! The circuit on one thread: each rule by itself, then all of them against a model.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::sync::Mutex as StdMutex;

use super::{windows::Windows, *};
use crate::CircuitMode;

mod model;

pub(super) const SECOND: Nanos = 1_000_000_000;

/// Records transitions.
#[derive(Debug)]
pub(super) struct Log {
    transitions: StdMutex<Vec<Transition>>,
    would_have_refused: StdMutex<Vec<Refused>>,
    settings: SharedSettings,
}

impl Observer for Log {
    type Listeners = ();

    fn settings(&self) -> &SharedSettings {
        &self.settings
    }

    fn transition(&self, transition: &Transition, _: ErrorOf<'_>, _: &Circuit<Self>) {
        self.transitions.lock().unwrap().push(*transition);
    }

    fn would_have_refused(&self, refused: Refused, _: &Circuit<Self>) {
        self.would_have_refused.lock().unwrap().push(refused);
    }
}

impl Log {
    fn states(&self) -> Vec<CircuitState> {
        self.transitions.lock().unwrap().iter().map(|transition| transition.to).collect()
    }
}

const SETTINGS: Settings = Settings {
    mode: Enforcing,
    trip: Trip::Consecutive { failures: 2 },
    slow: None,
    window: WindowSize::Calls(1),
    wait: WaitRule::fixed(60 * SECOND),
    success_threshold: 2,
    max_concurrent_probes: 1,
    probe_lease: 30 * SECOND,
    ramp: RampRule::NONE,
    stripes: 2,
};

fn circuit(settings: Settings) -> Circuit<Log> {
    let settings_of = SharedSettings::new(&settings);
    let log = Log { transitions: StdMutex::default(), would_have_refused: StdMutex::default(), settings: settings_of };
    Circuit::new(&settings, log)
}

fn rate(share: f64, window: u32, min_calls: u32) -> Settings {
    Settings {
        trip: Trip::FailureRate { share: Share::new(share), min_calls },
        window: WindowSize::Calls(window),
        ..SETTINGS
    }
}

impl Circuit<Log> {
    fn call(&self, verdict: Verdict, now: Nanos) {
        let admission = self.admit(|| now, || None).unwrap();
        self.record(admission, verdict, || now);
    }

    fn fail(&self, now: Nanos) {
        self.call(Verdict::Failure, now);
    }

    fn succeed(&self, now: Nanos) {
        self.call(Verdict::Success, now);
    }

    /// A circuit that opened at 0.
    fn opened(settings: Settings) -> Self {
        let circuit = circuit(settings);
        while circuit.state() == Closed {
            circuit.fail(0);
        }
        circuit
    }
}

use CircuitMode::{Enforcing, Observing};
use CircuitState::{Closed, HalfOpen, Isolated, Open, Recovering};

fn refusal(state: CircuitState, wait: Nanos) -> Refused {
    Refused { state, mode: Enforcing, wait }
}

#[test]
fn failures_in_a_row_open_the_circuit_and_a_success_between_them_starts_over() {
    let circuit = circuit(SETTINGS);
    circuit.fail(0);
    circuit.succeed(0);
    circuit.fail(0);
    assert_eq!(circuit.state(), Closed);
    circuit.fail(SECOND);
    assert_eq!(circuit.state(), Open);
    assert_eq!(circuit.remaining_wait(2 * SECOND), Some(59 * SECOND));
    let refused = refusal(Open, 59 * SECOND);
    assert_eq!(circuit.admit(|| 2 * SECOND, || None).unwrap_err(), refused);
    let tripped = TransitionReason::Failures { failures: 2, calls: 2 };
    let transition = Transition { seq: 1, from: Closed, to: Open, mode: Enforcing, reason: tripped, generation: 1 };
    assert_eq!(*circuit.observer().transitions.lock().unwrap(), [transition]);
}

/// Three failures in a row, or half of ten calls.
fn either() -> [Settings; 2] {
    let trip = Trip::Either { failures: 3, share: Share::new(0.5), min_calls: 10 };
    [WindowSize::Calls(10), WindowSize::Time(3600 * SECOND)].map(|window| Settings { trip, window, ..SETTINGS })
}

#[test]
fn failures_in_a_row_open_a_circuit_before_its_share_has_enough_calls() {
    for settings in either() {
        let circuit = circuit(settings);
        (0..2).for_each(|_| circuit.fail(0));
        assert_eq!((circuit.state(), circuit.counted(0).in_a_row), (Closed, 2));
        circuit.fail(0);
        assert_eq!(circuit.state(), Open);
        let reason = TransitionReason::Failures { failures: 3, calls: 3 };
        assert_eq!(circuit.observer().transitions.lock().unwrap()[0].reason, reason);
    }
}

#[test]
fn a_share_of_failures_opens_a_circuit_though_no_three_are_in_a_row() {
    for settings in either() {
        let circuit = circuit(settings);
        for _ in 0..4 {
            circuit.succeed(0);
            circuit.fail(0);
        }
        circuit.succeed(0);
        assert_eq!((circuit.state(), circuit.counted(0).in_a_row), (Closed, 0));
        circuit.fail(0);
        assert_eq!(circuit.state(), Open);
        let reason = TransitionReason::Failures { failures: 5, calls: 10 };
        assert_eq!(circuit.observer().transitions.lock().unwrap()[0].reason, reason);
    }
}

#[test]
fn failures_in_a_row_outlast_the_window_of_the_share_and_no_generation() {
    let trip = Trip::Either { failures: 3, share: Share::new(0.5), min_calls: 10 };
    let circuit = circuit(Settings { trip, window: WindowSize::Time(SECOND), ..SETTINGS });
    let late = circuit.admit(|| 0, || None).unwrap();
    circuit.fail(0);
    circuit.fail(60 * SECOND);
    assert!(!circuit.is_evictable(120 * SECOND), "it would forget them");
    circuit.reset();
    circuit.record(late, Verdict::Failure, || 60 * SECOND);
    (0..2).for_each(|_| circuit.fail(60 * SECOND));
    assert_eq!((circuit.state(), circuit.counted(60 * SECOND).in_a_row), (Closed, 2));
    circuit.fail(200 * SECOND);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn a_circuit_that_stops_counting_in_a_row_starts_anew() {
    let [both, _] = either();
    let circuit = circuit(both);
    (0..2).for_each(|_| circuit.fail(0));
    let share_alone = rate(0.5, 10, 10);
    circuit.observer().settings().set(&share_alone);
    circuit.reload(&share_alone);
    assert_eq!(circuit.counted(0), Counted::default());
    (0..9).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn a_neutral_result_counts_as_nothing() {
    let circuit = circuit(SETTINGS);
    circuit.fail(0);
    circuit.call(Verdict::Neutral, 0);
    assert_eq!(circuit.counted(0), Counted { calls: 1, failures: 1, in_a_row: 1, ..Counted::default() });
    circuit.fail(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn a_healthy_call_asks_for_no_time() {
    let circuit = circuit(SETTINGS);
    let never = || -> Nanos { panic!("the clock was read") };
    assert_eq!(circuit.would_refuse(never), None);
    let admission = circuit.admit(never, || None).unwrap();
    circuit.record(admission, Verdict::Success, never);
}

#[test]
fn a_window_of_n_calls_means_exactly_the_last_n() {
    let circuit = circuit(rate(0.5, 10, 10));
    (0..1000).for_each(|_| circuit.succeed(0));
    (0..4).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.counted(0), Counted { calls: 10, failures: 4, ..Counted::default() });
    assert_eq!(circuit.state(), Closed);
    circuit.fail(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn a_failure_leaves_the_window_after_n_calls() {
    let circuit = circuit(rate(0.5, 10, 10));
    (0..4).for_each(|_| circuit.fail(0));
    (0..9).for_each(|_| circuit.succeed(0));
    assert_eq!(circuit.counted(0).failures, 1);
    circuit.succeed(0);
    assert_eq!(circuit.counted(0), Counted { calls: 10, failures: 0, ..Counted::default() });
}

#[test]
fn min_calls_counts_below_the_size_of_the_window() {
    let circuit = circuit(rate(0.5, 100, 4));
    (0..3).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.state(), Closed);
    circuit.fail(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn seven_in_a_hundred_are_seven_percent() {
    let circuit = circuit(rate(0.07, 100, 100));
    (0..93).for_each(|_| circuit.succeed(0));
    (0..7).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.state(), Open);
}

#[test]
fn the_largest_window_can_fill_with_failures() {
    let circuit = circuit(rate(1.0, MAX_CALLS, MAX_CALLS));
    (0..MAX_CALLS - 1).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.state(), Closed);
    circuit.fail(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn the_call_after_the_wait_is_a_probe_and_enough_of_them_close() {
    let circuit = Circuit::opened(SETTINGS);
    assert!(circuit.would_refuse(|| 60 * SECOND - 1).is_some());
    assert!(circuit.would_refuse(|| 60 * SECOND).is_none());
    assert_eq!(circuit.state(), Open);
    circuit.succeed(60 * SECOND);
    assert_eq!(circuit.state(), HalfOpen);
    assert_eq!(circuit.counted(0), Counted { probe_successes: 1, ..Counted::default() });
    circuit.succeed(60 * SECOND);
    assert_eq!(circuit.state(), Closed);
    assert_eq!(circuit.counted(0), Counted::default());
    assert_eq!(circuit.observer().states(), [Open, HalfOpen, Closed]);
}

#[test]
fn a_failed_probe_opens_for_another_whole_wait() {
    let circuit = Circuit::opened(SETTINGS);
    let probe = circuit.admit(|| 60 * SECOND, || None).unwrap();
    circuit.record(probe, Verdict::Failure, || 70 * SECOND);
    assert_eq!(circuit.remaining_wait(70 * SECOND), Some(60 * SECOND));
}

#[test]
fn while_its_probes_run_a_half_open_circuit_refuses() {
    let circuit = Circuit::opened(Settings { max_concurrent_probes: 2, ..SETTINGS });
    let first = circuit.admit(|| 60 * SECOND, || None).unwrap();
    assert!(circuit.would_refuse(|| 60 * SECOND).is_none());
    let _second = circuit.admit(|| 60 * SECOND, || None).unwrap();
    assert!(circuit.would_refuse(|| 60 * SECOND).is_some());
    assert_eq!(circuit.admit(|| 60 * SECOND, || None).unwrap_err(), refusal(HalfOpen, 0));
    circuit.record(first, Verdict::Neutral, || 60 * SECOND);
    assert!(circuit.admit(|| 60 * SECOND, || None).is_ok());
}

#[test]
fn a_probe_that_never_ends_gives_its_permit_back_when_its_lease_expires() {
    let circuit = Circuit::opened(SETTINGS);
    let leaked = circuit.admit(|| 60 * SECOND, || None).unwrap();
    assert!(circuit.admit(|| 90 * SECOND - 1, || None).is_err());
    let second = circuit.admit(|| 90 * SECOND, || None).unwrap();
    // Its own permit has expired. Giving it back must not give back the second one's.
    circuit.record(leaked, Verdict::Neutral, || 91 * SECOND);
    assert!(circuit.admit(|| 91 * SECOND, || None).is_err());
    circuit.record(second, Verdict::Success, || 92 * SECOND);
    circuit.succeed(92 * SECOND);
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn a_lease_that_has_expired_is_no_probe_any_more_also_where_nobody_asks_for_one() {
    let two = Settings { max_concurrent_probes: 2, probe_lease: 10 * SECOND, ..SETTINGS };
    let circuit = Circuit::opened(two);
    let _first = circuit.admit(|| 60 * SECOND, || None).unwrap();
    let _second = circuit.admit(|| 65 * SECOND, || None).unwrap();
    let one = Settings { max_concurrent_probes: 1, ..two };
    circuit.observer().settings().set(&one);
    circuit.reload(&one);
    let probes = |at| circuit.counted(at).probes;
    assert_eq!((probes(69 * SECOND), probes(70 * SECOND), probes(75 * SECOND)), (2, 1, 0));
    assert!(circuit.admit(|| 74 * SECOND, || None).is_err(), "the second one is out still");
    assert!(circuit.admit(|| 75 * SECOND, || None).is_ok());
}

#[test]
fn a_result_that_outlived_its_lease_counts_while_its_episode_lasts() {
    let circuit = Circuit::opened(Settings { success_threshold: 1, ..SETTINGS });
    let late = circuit.admit(|| 60 * SECOND, || None).unwrap();
    let _second = circuit.admit(|| 90 * SECOND, || None).unwrap();
    circuit.record(late, Verdict::Success, || 91 * SECOND);
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn a_late_result_never_counts_in_another_generation() {
    for settings in [SETTINGS, rate(0.5, 4, 2)] {
        let circuit = circuit(settings);
        let late: Vec<_> = (0..8).map(|_| circuit.admit(|| 0, || None).unwrap()).collect();
        (0..2).for_each(|_| circuit.fail(0));
        let probe = circuit.admit(|| 60 * SECOND, || None).unwrap();
        let mut late = late.into_iter();
        circuit.record(late.next().unwrap(), Verdict::Success, || 60 * SECOND);
        circuit.record(late.next().unwrap(), Verdict::Failure, || 60 * SECOND);
        assert_eq!(circuit.counted(0), Counted { probes: 1, ..Counted::default() });
        circuit.record(probe, Verdict::Success, || 60 * SECOND);
        circuit.succeed(60 * SECOND);
        assert_eq!(circuit.state(), Closed);
        for admission in late {
            circuit.record(admission, Verdict::Failure, || 60 * SECOND);
        }
        assert_eq!((circuit.state(), circuit.counted(0)), (Closed, Counted::default()));
    }
}

#[test]
fn neither_a_refusal_nor_a_healthy_call_takes_the_lock() {
    let circuit = Circuit::opened(SETTINGS);
    let _probe = circuit.admit(|| 60 * SECOND, || None).unwrap();
    let locked = circuit.lock();
    assert!(circuit.admit(|| 60 * SECOND, || None).is_err());
    drop(locked);

    let circuit = Circuit::opened(SETTINGS);
    let locked = circuit.lock();
    assert!(circuit.admit(|| 60 * SECOND - 1, || None).is_err());
    drop(locked);
    circuit.reset();
    let _locked = circuit.lock();
    circuit.succeed(0);
}

#[test]
fn an_isolated_circuit_refuses_until_somebody_says_otherwise() {
    let circuit = circuit(SETTINGS);
    circuit.isolate();
    circuit.isolate();
    let refused = refusal(Isolated, 0);
    assert!(circuit.would_refuse(|| Nanos::MAX).is_some());
    assert_eq!(circuit.admit(|| Nanos::MAX, || None).unwrap_err(), refused);
    assert_eq!(circuit.remaining_wait(0), None);
    circuit.close();
    circuit.close();
    circuit.succeed(0);
    assert_eq!(circuit.observer().states(), [Isolated, Closed]);
}

#[test]
fn close_leaves_a_closed_circuits_counts_and_reset_clears_them() {
    for settings in [SETTINGS, rate(1.0, 10, 10)] {
        let circuit = circuit(settings);
        circuit.fail(0);
        circuit.close();
        assert_eq!(circuit.counted(0).failures, 1);
        circuit.reset();
        assert_eq!(circuit.counted(0), Counted::default());
        assert_eq!(circuit.observer().states(), []);
        assert_eq!(circuit.generation(), 1);
    }
}

fn timed(share: f64, window: Nanos, min_calls: u32) -> Settings {
    Settings {
        trip: Trip::FailureRate { share: Share::new(share), min_calls },
        window: WindowSize::Time(window),
        ..SETTINGS
    }
}

#[test]
fn a_failure_leaves_a_window_of_time_after_that_time() {
    let circuit = circuit(timed(0.5, 16 * SECOND, 4));
    circuit.fail(0);
    circuit.fail(SECOND);
    circuit.fail(2 * SECOND);
    assert_eq!(circuit.counted(16 * SECOND - 1), Counted { calls: 3, failures: 3, ..Counted::default() });
    assert_eq!(circuit.counted(16 * SECOND).failures, 2);
    circuit.fail(16 * SECOND);
    assert_eq!(circuit.state(), Closed);
    circuit.fail(16 * SECOND);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn successes_count_in_a_window_of_time() {
    let circuit = circuit(timed(0.1, 10 * SECOND, 1));
    (0..99).for_each(|_| circuit.succeed(0));
    (0..10).for_each(|_| circuit.fail(0));
    assert_eq!(circuit.counted(0), Counted { calls: 109, failures: 10, ..Counted::default() });
    circuit.fail(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn a_window_of_time_is_empty_after_a_reset_and_after_recovery() {
    let circuit = circuit(timed(0.5, 3600 * SECOND, 2));
    let late = circuit.admit(|| 0, || None).unwrap();
    circuit.fail(0);
    circuit.reset();
    assert_eq!(circuit.counted(0), Counted::default());
    circuit.record(late, Verdict::Failure, || 0);
    circuit.fail(0);
    assert_eq!((circuit.state(), circuit.counted(0).failures), (Closed, 1));
    circuit.fail(0);
    circuit.succeed(60 * SECOND);
    circuit.succeed(60 * SECOND);
    assert_eq!((circuit.state(), circuit.counted(60 * SECOND)), (Closed, Counted::default()));
}

#[test]
fn probes_that_outlast_the_window_still_close() {
    let circuit = Circuit::opened(timed(0.5, SECOND, 2));
    circuit.succeed(60 * SECOND);
    circuit.succeed(3600 * SECOND);
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn however_many_calls_are_in_a_window_of_time_it_keeps_its_size() {
    let circuit = circuit(timed(0.5, 16 * SECOND, 100));
    for call in 0..200_000_u64 {
        circuit.call(if call % 10 == 0 { Verdict::Failure } else { Verdict::Success }, call * 80_000);
    }
    let counted = circuit.counted(16 * SECOND - 1);
    assert_eq!((counted.calls, counted.failures), (200_000, 20_000));
    assert!(size_of::<buckets::Buckets>() <= 32);
}

#[test]
fn slow_calls_are_counted_over_a_window_of_time_too() {
    let window = WindowSize::Time(16 * SECOND);
    let circuit =
        circuit(Settings { slow: Some(SlowRate { share: Share::new(1.0), min_calls: 2 }), window, ..SETTINGS });
    circuit.slow(0);
    circuit.slow(16 * SECOND);
    assert_eq!(circuit.state(), Closed);
    circuit.slow(17 * SECOND);
    assert_eq!(circuit.state(), Open);
}

fn slow_rate(share: f64, window: u32, min_calls: u32) -> Settings {
    Settings {
        slow: Some(SlowRate { share: Share::new(share), min_calls }),
        window: WindowSize::Calls(window),
        ..SETTINGS
    }
}

const SLOW: Finished = Finished { verdict: Verdict::Success, slow: true, asked: None, abandoned: false };

impl Circuit<Log> {
    fn slow(&self, now: Nanos) {
        let admission = self.admit(|| now, || None).unwrap();
        self.record(admission, SLOW, || now);
    }
}

#[test]
fn slow_calls_open_the_circuit_though_all_of_them_succeed() {
    let circuit = circuit(slow_rate(0.5, 10, 4));
    (0..3).for_each(|_| circuit.slow(0));
    assert_eq!((circuit.state(), circuit.counted(0).slow), (Closed, 3));
    circuit.slow(0);
    assert_eq!(circuit.state(), Open);
    let reason = TransitionReason::SlowCalls { slow: 4, calls: 4 };
    assert_eq!(circuit.observer().transitions.lock().unwrap()[0].reason, reason);
    assert_eq!(circuit.remaining_wait(0), Some(60 * SECOND));
}

#[test]
fn slow_calls_are_counted_in_exactly_the_last_n_and_apart_from_failures() {
    let circuit = circuit(slow_rate(0.5, 10, 10));
    (0..1000).for_each(|_| circuit.succeed(0));
    (0..4).for_each(|_| circuit.slow(0));
    circuit.fail(0);
    assert_eq!(circuit.counted(0), Counted { calls: 1, failures: 1, in_a_row: 1, slow: 4, ..Counted::default() });
    circuit.slow(0);
    assert_eq!(circuit.state(), Open);
}

#[test]
fn a_probe_as_slow_as_the_calls_that_tripped_opens_again() {
    let circuit = circuit(slow_rate(1.0, 1, 1));
    circuit.slow(0);
    circuit.succeed(60 * SECOND);
    circuit.slow(60 * SECOND);
    assert_eq!((circuit.state(), circuit.remaining_wait(60 * SECOND)), (Open, Some(60 * SECOND)));
    assert_eq!(circuit.observer().transitions.lock().unwrap().last().unwrap().reason, TransitionReason::ProbeSlow);
}

#[test]
fn a_late_slow_call_never_counts_in_another_generation() {
    let circuit = circuit(slow_rate(1.0, 2, 1));
    let late: Vec<_> = (0..3).map(|_| circuit.admit(|| 0, || None).unwrap()).collect();
    circuit.slow(0);
    let mut late = late.into_iter();
    circuit.record(late.next().unwrap(), SLOW, || 0);
    assert_eq!(circuit.generation(), 1);
    circuit.succeed(60 * SECOND);
    circuit.record(late.next().unwrap(), SLOW, || 60 * SECOND);
    circuit.succeed(60 * SECOND);
    circuit.record(late.next().unwrap(), SLOW, || 60 * SECOND);
    assert_eq!((circuit.state(), circuit.counted(0)), (Closed, Counted::default()));
}

#[test]
fn a_fast_call_over_a_window_without_slow_ones_takes_no_lock() {
    let circuit = circuit(slow_rate(0.5, 4, 4));
    (0..4).for_each(|_| circuit.succeed(0));
    let _locked = circuit.lock();
    circuit.succeed(0);
    circuit.slow(0);
}

#[test]
fn transitions_are_numbered_without_gaps_and_the_latest_are_kept() {
    let circuit = circuit(SETTINGS);
    circuit.isolate();
    assert_eq!(circuit.transition_after(0), None);
    assert_eq!(circuit.keep_history(), 1);
    circuit.reset();
    circuit.reset();
    circuit.isolate();
    let kept: Vec<_> = (1..4).map(|seq| circuit.transition_after(seq).map(|transition| transition.seq)).collect();
    assert_eq!(kept, [Some(2), Some(3), None]);
    for _ in 0..history::KEPT {
        circuit.close();
        circuit.isolate();
    }
    let oldest = circuit.transition_after(1).unwrap();
    assert_eq!(oldest.seq, 3 + history::KEPT as u64 + 1);
    assert_eq!(circuit.transition_after(3 + 2 * history::KEPT as u64), None);
}

#[test]
fn a_circuit_is_small() {
    assert!(size_of::<Circuit<()>>() <= 32, "{}", size_of::<Circuit<()>>());
}

impl Observer for () {
    type Listeners = ();

    fn settings(&self) -> &SharedSettings {
        unreachable!()
    }

    fn transition(&self, _: &Transition, _: ErrorOf<'_>, _: &Circuit<Self>) {}

    fn would_have_refused(&self, _: Refused, _: &Circuit<Self>) {}
}

#[test]
fn however_often_the_window_changes_only_the_latest_is_kept() {
    let circuit = circuit(rate(0.5, 1, 1));
    let mut replaced = Vec::new();
    for calls in (2..=10_001).map(|reload| reload % 100 + 2) {
        circuit.reload(&rate(0.5, calls, 1));
        match circuit.windows() {
            transition_state::Current::Replaced(windows) => replaced.push(std::sync::Arc::downgrade(&windows)),
            transition_state::Current::First(_) => panic!("the window changed"),
        }
    }
    assert_eq!(replaced.len(), 10_000);
    assert_eq!(replaced.iter().filter(|windows| windows.strong_count() > 0).count(), 1);
}

#[test]
fn a_result_on_its_way_keeps_its_window_until_it_is_counted() {
    let circuit = circuit(rate(0.5, 1, 1));
    circuit.reload(&rate(0.5, 2, 1));
    let counted_in = circuit.windows();
    circuit.reload(&rate(0.5, 3, 1));
    circuit.reload(&rate(0.5, 4, 1));
    let calls = |windows: &Windows| windows.ring.as_ref().map(ring::Ring::len);
    assert_eq!((calls(&counted_in), calls(&circuit.windows())), (Some(2), Some(4)));
}

#[test]
fn a_circuit_whose_window_changed_200_000_times_is_dropped_on_a_small_stack() {
    let drops = || {
        let circuit = circuit(rate(0.5, 1, 1));
        (0..200_000).for_each(|reload| circuit.reload(&rate(0.5, reload % 2 + 1, 1)));
        drop(circuit);
    };
    std::thread::Builder::new().stack_size(128 * 1024).spawn(drops).unwrap().join().unwrap();
}

const OBSERVED: Settings = Settings { mode: Observing, ..SETTINGS };

#[test]
fn an_observing_circuit_refuses_nothing_and_says_what_it_would_have_refused() {
    let circuit = circuit(OBSERVED);
    (0..2).for_each(|_| circuit.fail(0));
    assert_eq!((circuit.state(), circuit.observed_state()), (Closed, Open));
    assert_eq!((circuit.remaining_wait(0), circuit.would_refuse(|| 0)), (None, None));
    let beside = circuit.admit(|| SECOND, || None).unwrap();
    let refused = Refused { state: Open, mode: Observing, wait: 59 * SECOND };
    assert_eq!(*circuit.observer().would_have_refused.lock().unwrap(), [refused]);
    assert!(circuit.is_current(&beside), "it isn't asked about again");
    let transition = circuit.observer().transitions.lock().unwrap()[0];
    assert_eq!((transition.to, transition.mode), (Open, Observing));
}

#[test]
fn only_calls_that_an_observing_circuit_would_have_admitted_count() {
    let circuit = circuit(OBSERVED);
    (0..2).for_each(|_| circuit.fail(0));
    let beside = circuit.admit(|| 0, || None).unwrap();
    let probe = circuit.admit(|| 60 * SECOND, || None).unwrap();
    let second = circuit.admit(|| 60 * SECOND, || None).unwrap();
    assert!(probe.is_probe() && !second.is_probe());
    circuit.record(beside, Verdict::Failure, || 61 * SECOND);
    circuit.record(second, Verdict::Failure, || 61 * SECOND);
    assert_eq!(circuit.observed_state(), HalfOpen);
    circuit.record(probe, Verdict::Success, || 61 * SECOND);
    circuit.succeed(61 * SECOND);
    assert_eq!(circuit.observer().states(), [Open, HalfOpen, Closed]);
    circuit.record(beside, Verdict::Failure, || 62 * SECOND);
    assert_eq!(circuit.counted(62 * SECOND), Counted::default());
}

#[test]
fn a_call_that_does_not_count_leaves_no_mark_in_a_window_of_time() {
    let circuit = circuit(Settings { mode: Observing, ..timed(1.0, 10 * SECOND, 2) });
    (0..2).for_each(|_| circuit.fail(0));
    let beside = circuit.admit(|| 0, || None).unwrap();
    circuit.record(beside, Verdict::Failure, || 0);
    let beside = circuit.admit(|| 0, || None).unwrap();
    circuit.record_quick_success(beside, || 0);
    circuit.reset();
    assert_eq!(circuit.counted(0), Counted::default());
}

#[test]
fn switching_starts_closed_in_either_direction() {
    let circuit = circuit(OBSERVED);
    (0..2).for_each(|_| circuit.fail(0));
    circuit.set_mode(Enforcing);
    circuit.set_mode(Enforcing);
    assert_eq!((circuit.state(), circuit.observed_state()), (Closed, Closed));
    (0..2).for_each(|_| circuit.fail(0));
    assert_eq!((circuit.state(), circuit.would_refuse(|| 0)), (Open, Some(refusal(Open, 60 * SECOND))));
    circuit.reload(&OBSERVED);
    assert_eq!((circuit.mode(), circuit.state(), circuit.observed_state()), (Observing, Closed, Closed));
    assert_eq!(circuit.observer().states(), [Open, Closed, Open, Closed]);
    circuit.fail(0);
    let late = circuit.admit(|| 0, || None).unwrap();
    circuit.set_mode(Enforcing);
    circuit.record(late, Verdict::Failure, || 0);
    assert_eq!(circuit.counted(0), Counted::default());
    assert_eq!(circuit.observer().states().len(), 4, "closed before and after is no change of state");
}

#[test]
fn what_an_operator_isolates_is_refused_in_either_mode_and_by_a_switch() {
    let circuit = circuit(OBSERVED);
    circuit.isolate();
    assert_eq!((circuit.state(), circuit.would_refuse(|| 0)), (Isolated, Some(refusal(Isolated, 0))));
    circuit.set_mode(Enforcing);
    assert_eq!((circuit.state(), circuit.admit(|| 0, || None).unwrap_err()), (Isolated, refusal(Isolated, 0)));
    circuit.close();
    assert_eq!((circuit.mode(), circuit.state()), (Enforcing, Closed));
}

#[test]
fn a_prober_leaves_an_observing_circuit_to_its_calls() {
    let circuit = circuit(OBSERVED);
    (0..2).for_each(|_| circuit.fail(0));
    assert!(matches!(circuit.turn(3600 * SECOND), Turn::Idle));
    assert_eq!(circuit.observed_state(), Open);
}

/// A circuit that began its ramp at 60 s: a quarter of the calls, then half, 5 s each.
fn ramping(settings: Settings) -> Circuit<Log> {
    let ramp = RampRule::new(&[0.25, 0.5], 5 * SECOND);
    let circuit = Circuit::opened(Settings { ramp, success_threshold: 1, ..settings });
    circuit.succeed(60 * SECOND);
    assert_eq!(circuit.state(), Recovering);
    circuit
}

const BEGAN: Nanos = 60 * SECOND;

impl Circuit<Log> {
    /// Makes calls that succeed. Returns how many are admitted.
    fn tries(&self, calls: usize, now: Nanos) -> usize {
        let admitted: Vec<_> = (0..calls).filter_map(|_| self.admit(|| now, || None).ok()).collect();
        admitted.iter().for_each(|admission| self.record(*admission, Verdict::Success, || now));
        admitted.len()
    }
}

#[test]
fn a_ramp_admits_its_shares_one_after_another_and_then_all() {
    let circuit = ramping(SETTINGS);
    assert_eq!((circuit.tries(400, BEGAN), circuit.admitted_share()), (100, 0.25));
    assert_eq!(circuit.tries(400, BEGAN + 5 * SECOND - 1), 100);
    assert_eq!((circuit.tries(400, BEGAN + 5 * SECOND), circuit.admitted_share()), (200, 0.5));
    assert_eq!((circuit.tries(400, BEGAN + 10 * SECOND), circuit.admitted_share()), (400, 1.0));
    assert_eq!(circuit.observer().states(), [Open, HalfOpen, Recovering, Closed]);
    let reasons: Vec<_> = circuit.observer().transitions.lock().unwrap().iter().map(|made| made.reason).collect();
    assert_eq!(reasons[2..], [TransitionReason::ProbesSucceeded, TransitionReason::RampEnded]);
}

#[test]
fn a_refusal_of_a_ramp_says_when_the_share_grows() {
    let circuit = ramping(SETTINGS);
    let told: Vec<_> = (0..4).map(|_| circuit.admit(|| BEGAN + SECOND, || None).err()).collect();
    let refused = Some(refusal(Recovering, 4 * SECOND));
    assert_eq!(told, [refused, None, refused, refused]);
}

#[test]
fn an_admitted_call_of_a_ramp_reads_no_clock_and_no_call_takes_the_lock() {
    let circuit = ramping(SETTINGS);
    let _locked = circuit.lock();
    assert!(circuit.admit(|| BEGAN, || None).is_err());
    let never = || -> Nanos { panic!("the clock was read") };
    let admission = circuit.admit(never, || None).unwrap();
    circuit.record_quick_success(admission, never);
    assert!(circuit.admit(|| BEGAN + 6 * SECOND, || None).is_err(), "too few calls have finished");
}

#[test]
fn a_step_lasts_until_ten_calls_have_finished_but_no_longer_than_a_minute() {
    let circuit = ramping(SETTINGS);
    assert_eq!(circuit.tries(36, BEGAN), 9);
    assert_eq!(circuit.tries(2, BEGAN + 20 * SECOND), 1, "the first finds nine, and is refused");
    let unfinished = circuit.admit(|| BEGAN + 20 * SECOND, || None);
    assert_eq!((unfinished.is_ok(), circuit.admitted_share()), (true, 0.5));
    assert_eq!(circuit.tries(10, BEGAN + 79 * SECOND), 5);
    assert_eq!(circuit.admitted_share(), 0.5);
    assert_eq!(circuit.tries(4, BEGAN + 80 * SECOND), 4);
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn neutral_results_do_not_move_a_ramp_on() {
    let circuit = ramping(SETTINGS);
    for _ in 0..100 {
        if let Ok(admission) = circuit.admit(|| BEGAN, || None) {
            circuit.record(admission, Verdict::Neutral, || BEGAN);
        }
    }
    (0..8).for_each(|_| _ = circuit.admit(|| BEGAN + 59 * SECOND, || None));
    assert_eq!(circuit.admitted_share(), 0.25);
}

#[test]
fn a_failing_ramp_opens_for_the_next_and_longer_wait() {
    for settings in [SETTINGS, rate(1.0, 2, 2), timed(0.5, 60 * SECOND, 2)] {
        let wait = WaitRule { max: 600 * SECOND, ..WaitRule::fixed(60 * SECOND) };
        let circuit = ramping(Settings { wait, ..settings });
        let late = circuit.admit(|| BEGAN, || None);
        assert!(late.is_err());
        let admitted: Vec<_> = (0..12).filter_map(|_| circuit.admit(|| BEGAN, || None).ok()).collect();
        circuit.record(admitted[0], Verdict::Failure, || BEGAN);
        assert_eq!((circuit.state(), circuit.counted(BEGAN).failures), (Recovering, 1));
        circuit.record(admitted[1], Verdict::Failure, || BEGAN);
        assert_eq!((circuit.state(), circuit.remaining_wait(BEGAN)), (Open, Some(120 * SECOND)));
        circuit.record(admitted[2], Verdict::Failure, || BEGAN);
        let last = *circuit.observer().transitions.lock().unwrap().last().unwrap();
        assert_eq!((last.from, last.to), (Recovering, Open));
        // The ramp of the next recovery is a new one. When that closes, the waits start over.
        circuit.succeed(BEGAN + 120 * SECOND);
        assert_eq!((circuit.tries(40, BEGAN + 121 * SECOND), circuit.counted(BEGAN + 121 * SECOND).failures), (10, 0));
        circuit.tries(100, BEGAN + 126 * SECOND);
        circuit.tries(4, BEGAN + 131 * SECOND);
        assert_eq!(circuit.state(), Closed);
        while circuit.state() == Closed {
            circuit.fail(BEGAN + 131 * SECOND);
        }
        assert_eq!(circuit.remaining_wait(BEGAN + 131 * SECOND), Some(60 * SECOND));
    }
}

#[test]
fn counts_start_anew_at_the_ramp_and_go_on_from_step_to_step() {
    let circuit = ramping(timed(0.5, 60 * SECOND, 30));
    assert_eq!(circuit.counted(BEGAN), Counted::default());
    circuit.tries(40, BEGAN);
    circuit.tries(8, BEGAN + 5 * SECOND);
    assert_eq!((circuit.admitted_share(), circuit.counted(BEGAN + 5 * SECOND).calls), (0.5, 14));
}

#[test]
fn a_result_of_a_probe_that_outlived_its_trial_counts_in_no_ramp() {
    let ramp = RampRule::new(&[0.5], SECOND);
    let settings = Settings { ramp, success_threshold: 1, max_concurrent_probes: 2, ..SETTINGS };
    let circuit = Circuit::opened(settings);
    let late = circuit.admit(|| BEGAN, || None).unwrap();
    circuit.succeed(BEGAN);
    circuit.record(late, Verdict::Failure, || BEGAN);
    assert_eq!((circuit.state(), circuit.counted(BEGAN)), (Recovering, Counted::default()));
}

#[test]
fn an_operator_ends_a_ramp() {
    for (ends, state) in
        [(Circuit::isolate as fn(&Circuit<Log>), Isolated), (Circuit::close, Closed), (Circuit::reset, Closed)]
    {
        let circuit = ramping(SETTINGS);
        let late = circuit.admit(|| BEGAN, || None).err();
        assert!(late.is_some());
        ends(&circuit);
        assert_eq!((circuit.state(), circuit.counted(BEGAN)), (state, Counted::default()));
        assert_eq!(circuit.admit(|| BEGAN, || None).is_ok(), state == Closed);
    }
}

#[test]
fn a_reload_leaves_the_step_and_changes_the_next_one() {
    let circuit = ramping(SETTINGS);
    circuit.tries(40, BEGAN);
    let other = Settings { ramp: RampRule::new(&[0.125, 0.75, 0.875], 7 * SECOND), ..SETTINGS };
    circuit.observer().settings().set(&other);
    circuit.reload(&other);
    assert_eq!((circuit.state(), circuit.admitted_share()), (Recovering, 0.25));
    circuit.tries(4, BEGAN + 5 * SECOND);
    assert_eq!(circuit.admitted_share(), 0.75);
    circuit.tries(40, BEGAN + 6 * SECOND);
    circuit.observer().settings().set(&SETTINGS);
    circuit.reload(&SETTINGS);
    circuit.tries(4, BEGAN + 12 * SECOND);
    assert_eq!(circuit.state(), Closed, "there are no more steps");
}

#[test]
fn a_reload_of_the_window_in_a_ramp_counts_anew_in_the_same_step() {
    let circuit = ramping(SETTINGS);
    circuit.tries(100, BEGAN);
    let late = (0..4).find_map(|_| circuit.admit(|| BEGAN, || None).ok()).unwrap();
    circuit.reload(&rate(0.5, 10, 2));
    circuit.record(late, Verdict::Failure, || BEGAN);
    assert_eq!(
        (circuit.state(), circuit.counted(BEGAN), circuit.admitted_share()),
        (Recovering, Counted::default(), 0.25)
    );
    circuit.tries(4, BEGAN + 5 * SECOND);
    assert_eq!(circuit.admitted_share(), 0.25, "those that finished count no more");
}

#[test]
fn a_prober_makes_no_call_in_a_ramp_and_ends_its_steps_in_time() {
    let circuit = ramping(SETTINGS);
    assert!(matches!(circuit.turn(BEGAN), Turn::After(wait) if wait == 5 * SECOND));
    assert!(matches!(circuit.turn(BEGAN + 5 * SECOND), Turn::After(wait) if wait == 55 * SECOND));
    assert!(matches!(circuit.turn(BEGAN + 60 * SECOND), Turn::After(wait) if wait == 5 * SECOND));
    assert_eq!(circuit.admitted_share(), 0.5);
    assert!(matches!(circuit.turn(BEGAN + 120 * SECOND), Turn::Idle));
    assert_eq!(circuit.state(), Closed);
}

#[test]
fn a_call_that_asks_ahead_takes_its_turn_once() {
    let circuit = ramping(SETTINGS);
    let never = || -> Nanos { panic!("the clock was read") };
    let refused = circuit.ask_ahead(None, || BEGAN).unwrap();
    assert!(refused.is_refused() && circuit.ask_ahead(Some(refused), never).unwrap().is_refused());
    assert_eq!(circuit.admit_as_told(refused, never, || None).unwrap_err(), refusal(Recovering, 5 * SECOND));
    let admitted = circuit.ask_ahead(None, never).unwrap();
    assert!(!admitted.is_refused());
    (0..9).for_each(|_| assert!(!circuit.ask_ahead(Some(admitted), never).unwrap().is_refused()));
    let admission = circuit.admit_as_told(admitted, never, || None).unwrap();
    circuit.record(admission, Verdict::Success, never);
    assert_eq!(circuit.tries(398, BEGAN), 99, "400 turns were taken");
    // What was told in an older generation holds no longer, unless it was a refusal.
    let admitted = std::iter::from_fn(|| circuit.ask_ahead(None, || BEGAN)).find(|told| !told.is_refused()).unwrap();
    circuit.isolate();
    assert_eq!(circuit.admit_as_told(admitted, || BEGAN, || None).unwrap_err(), refusal(Isolated, 0));
    assert!(circuit.ask_ahead(Some(admitted), never).unwrap().is_refused());
}

#[test]
fn an_observing_circuit_says_what_its_ramp_would_have_refused() {
    let circuit = ramping_while_observing();
    let admitted: Vec<_> = (0..8).map(|_| circuit.admit(|| BEGAN, || None).unwrap()).collect();
    assert_eq!(admitted.iter().filter(|admission| admission.is_counted()).count(), 2);
    let refused = Refused { state: Recovering, mode: Observing, wait: 5 * SECOND };
    assert_eq!(*circuit.observer().would_have_refused.lock().unwrap(), [refused; 6]);
    assert_eq!((circuit.state(), circuit.observed_state(), circuit.admitted_share()), (Closed, Recovering, 1.0));
    circuit.set_mode(Enforcing);
    assert_eq!(circuit.observed_state(), Closed);
}

fn ramping_while_observing() -> Circuit<Log> {
    let ramp = RampRule::new(&[0.25], 5 * SECOND);
    let circuit = circuit(Settings { ramp, success_threshold: 1, ..OBSERVED });
    (0..2).for_each(|_| circuit.fail(0));
    circuit.succeed(BEGAN);
    assert_eq!(circuit.observed_state(), Recovering);
    circuit
}

#[test]
fn a_ramp_that_nobody_uses_any_more_may_be_dropped() {
    let circuit = ramping(SETTINGS);
    assert!(!circuit.is_evictable(BEGAN + 60 * SECOND));
    assert!(!circuit.step_is_due(BEGAN + 59 * SECOND) && circuit.step_is_due(BEGAN + 60 * SECOND));
    assert!(circuit.is_evictable(BEGAN + 60 * SECOND + 600 * SECOND));
}
