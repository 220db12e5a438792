//! The circuit under the model checker, which tries all interleavings with at most 3 preemptions:
//!
//! ```text
//! RUSTFLAGS="--cfg backstop_loom" CARGO_TARGET_DIR=target/loom \
//!     cargo test -p backstop-circuit-breaker --lib --release
//! ```
//!
//! `LOOM_MAX_PREEMPTIONS` sets another number.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::sync::{Arc, Mutex as StdMutex};

use loom::{model::Builder, thread};

use super::*;
use crate::CircuitMode;

use CircuitState::{Closed, HalfOpen, Isolated, Open, Recovering};

/// Records transitions. Not the model checker's lock, because it isn't part of the protocol.
#[derive(Debug)]
struct Log {
    transitions: StdMutex<Vec<Transition>>,
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

    fn would_have_refused(&self, _: Refused, _: &Circuit<Self>) {}
}

const WAIT: Nanos = 60;
const LEASE: Nanos = 30;

const CONSECUTIVE: Settings = Settings {
    mode: CircuitMode::Enforcing,
    trip: Trip::Consecutive { failures: 2 },
    slow: None,
    window: WindowSize::Calls(1),
    wait: WaitRule::fixed(WAIT),
    success_threshold: 1,
    max_concurrent_probes: 1,
    probe_lease: LEASE,
    ramp: RampRule::NONE,
    stripes: 2,
};

const fn rate(share: f64, window: u32, min_calls: u32) -> Settings {
    Settings {
        trip: Trip::FailureRate { share: Share::new(share), min_calls },
        window: WindowSize::Calls(window),
        ..CONSECUTIVE
    }
}

type Shared = Arc<Circuit<Log>>;

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(test);
}

fn circuit(settings: Settings) -> Shared {
    Arc::new(Circuit::new(
        &settings,
        Log { transitions: StdMutex::default(), settings: SharedSettings::new(&settings) },
    ))
}

/// A circuit that opened at 0.
fn opened(settings: Settings) -> Shared {
    let circuit = circuit(settings);
    while circuit.state() == Closed {
        circuit.call(Verdict::Failure, 0);
    }
    circuit
}

impl Circuit<Log> {
    fn call(&self, verdict: Verdict, now: Nanos) {
        let admission = self.admit(|| now, || None).unwrap();
        self.record(admission, verdict, || now);
    }

    fn times_entered(&self, state: CircuitState) -> usize {
        self.observer.transitions.lock().unwrap().iter().filter(|transition| transition.to == state).count()
    }

    /// Checks that every transition was reported once, and starts in the state in which the previous one ended.
    fn history_is_sound(&self) {
        let mut log = self.observer.transitions.lock().unwrap();
        log.sort_by_key(|transition| transition.generation);
        let mut state = Closed;
        for transition in &*log {
            assert_eq!(transition.from, state);
            assert_ne!(transition.to, state);
            state = transition.to;
        }
        assert_eq!(state, self.observed_state());
        assert!(log.windows(2).all(|pair| pair[0].generation < pair[1].generation));
        assert!(log.iter().zip(1..).all(|(transition, seq)| transition.seq == seq));
    }
}

/// Runs the first closure on this thread and each other one on its own thread. Returns their results in order.
fn race<T: Send + 'static>(circuit: &Shared, each: Vec<Step<T>>) -> Vec<T> {
    let mut each = each.into_iter();
    let first = each.next().unwrap();
    let others: Vec<_> = each
        .map(|other| {
            let circuit = Arc::clone(circuit);
            thread::spawn(move || other(&circuit))
        })
        .collect();
    let mut results = vec![first(circuit)];
    results.extend(others.into_iter().map(|other| other.join().unwrap()));
    circuit.history_is_sound();
    results
}

type Step<T> = Box<dyn FnOnce(&Circuit<Log>) -> T + Send>;

fn admits(now: Nanos) -> Step<Option<Admission>> {
    Box::new(move |circuit| circuit.admit(|| now, || None).ok())
}

fn records(admission: Admission, verdict: Verdict, now: Nanos) -> Step<Option<Admission>> {
    Box::new(move |circuit| {
        circuit.record(admission, verdict, || now);
        None
    })
}

fn calls(verdict: Verdict) -> Step<()> {
    Box::new(move |circuit| {
        if let Ok(admission) = circuit.admit(|| 0, || None) {
            circuit.record(admission, verdict, || 0);
        }
    })
}

fn admitted(results: Vec<Option<Admission>>) -> Vec<Admission> {
    results.into_iter().flatten().collect()
}

#[test]
fn racing_callers_at_the_end_of_the_wait_get_exactly_the_allowed_probes() {
    for allowed in [1, 2] {
        check(move || {
            let circuit = opened(Settings { max_concurrent_probes: allowed, ..CONSECUTIVE });
            let probes = admitted(race(&circuit, vec![admits(WAIT), admits(WAIT), admits(WAIT)]));
            assert_eq!(probes.len(), allowed as usize);
            assert_eq!(circuit.times_entered(HalfOpen), 1);
        });
    }
}

#[test]
fn an_expired_lease_and_its_late_holder_give_back_one_permit() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let late = circuit.admit(|| WAIT, || None).unwrap();
        let later = WAIT + LEASE;
        let steps = vec![records(late, Verdict::Neutral, later), admits(later), admits(later)];
        assert_eq!(admitted(race(&circuit, steps)).len(), 1);
    });
}

#[test]
fn a_probe_that_failed_is_followed_by_a_whole_wait() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let probe = circuit.admit(|| WAIT, || None).unwrap();
        let fails = records(probe, Verdict::Failure, WAIT + 1);
        let probes = admitted(race(&circuit, vec![fails, admits(WAIT + 1), admits(WAIT + 1)]));
        assert_eq!((circuit.state(), probes.len()), (Open, 0));
        assert!(circuit.admit(|| WAIT + WAIT, || None).is_err());
        assert!(circuit.admit(|| WAIT + 1 + WAIT, || None).is_ok());
    });
}

#[test]
fn a_late_result_never_counts_in_another_generation() {
    for verdict in [Verdict::Success, Verdict::Failure] {
        check(move || {
            let circuit = circuit(CONSECUTIVE);
            let (first, late) = (circuit.admit(|| 0, || None).unwrap(), circuit.admit(|| 0, || None).unwrap());
            circuit.call(Verdict::Failure, 0);
            circuit.record(first, Verdict::Failure, || 0);
            let probes = admitted(race(&circuit, vec![admits(WAIT), records(late, verdict, WAIT)]));
            assert_eq!((circuit.state(), probes.len()), (HalfOpen, 1));
            assert_eq!(circuit.counted(0), Counted { probes: 1, ..Counted::default() });
        });
    }
}

#[test]
fn a_failure_from_before_a_reset_is_not_counted_after_it() {
    for settings in [CONSECUTIVE, rate(1.0, 2, 2)] {
        check(move || {
            let circuit = circuit(settings);
            let late = circuit.admit(|| 0, || None).unwrap();
            race(
                &circuit,
                vec![
                    records(late, Verdict::Failure, 0),
                    Box::new(|circuit| {
                        circuit.reset();
                        None
                    }),
                ],
            );
            assert_eq!(circuit.counted(0), Counted::default());
            circuit.call(Verdict::Failure, 0);
            assert_eq!((circuit.counted(0).calls, circuit.counted(0).failures), (1, 1));
        });
    }
}

#[test]
fn a_late_writer_of_the_ring_leaves_no_mark_in_the_next_window() {
    for first in [Verdict::Success, Verdict::Failure] {
        check(move || {
            let circuit = circuit(rate(1.0, 2, 2));
            let late = circuit.admit(|| 0, || None).unwrap();
            let resets: Step<Option<Admission>> = Box::new(move |circuit| {
                circuit.reset();
                circuit.call(first, 0);
                None
            });
            race(&circuit, vec![records(late, Verdict::Failure, 0), resets]);
            // It neither adds a failure, nor hides the first one of this window.
            let failures = u32::from(first == Verdict::Failure);
            assert_eq!(circuit.counted(0), Counted { calls: 1, failures, ..Counted::default() });
            circuit.call(Verdict::Success, 0);
            circuit.call(Verdict::Success, 0);
            assert_eq!(circuit.counted(0), Counted { calls: 2, ..Counted::default() });
        });
    }
}

#[test]
fn the_count_stays_that_of_the_ring() {
    check(|| {
        let circuit = circuit(rate(1.0, 2, 2));
        circuit.call(Verdict::Failure, 0);
        race(&circuit, vec![calls(Verdict::Success), calls(Verdict::Failure), calls(Verdict::Success)]);
        if circuit.state() == Closed {
            circuit.call(Verdict::Success, 0);
            circuit.call(Verdict::Success, 0);
            assert_eq!(circuit.counted(0), Counted { calls: 2, ..Counted::default() });
        }
    });
}

#[test]
fn whatever_becomes_of_the_probes_the_circuit_closes_again() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let leaks: Step<()> = Box::new(|circuit| _ = circuit.admit(|| WAIT, || None));
        let gives_up: Step<()> = Box::new(|circuit| {
            if let Ok(probe) = circuit.admit(|| WAIT + LEASE, || None) {
                circuit.record(probe, Verdict::Neutral, || WAIT + LEASE);
            }
        });
        race(&circuit, vec![leaks, gives_up]);
        circuit.call(Verdict::Success, WAIT + LEASE + LEASE);
        assert_eq!(circuit.state(), Closed);
    });
}

#[test]
fn a_probe_with_a_good_head_counts_once_though_its_lease_expires_meanwhile() {
    let later = WAIT + LEASE;
    for verdict in [Verdict::Success, Verdict::Neutral] {
        check(move || {
            let circuit = opened(Settings { success_threshold: 3, ..CONSECUTIVE });
            let mut probe = circuit.admit(|| WAIT, || None).unwrap();
            circuit.head_is_good(&mut probe);
            let probes = admitted(race(&circuit, vec![records(probe, verdict, later), admits(later)]));
            assert_eq!((circuit.state(), probes.len()), (HalfOpen, 1));
            // What says nothing, and comes before the lease is asked about, counts as nothing.
            let successes = circuit.counted(later).probe_successes;
            assert!(successes == 1 || (verdict == Verdict::Neutral && successes == 0), "{successes}");
        });
    }
    // The same where it is the success that closes: then the call that asks is no probe.
    check(move || {
        let circuit = opened(CONSECUTIVE);
        let mut probe = circuit.admit(|| WAIT, || None).unwrap();
        circuit.head_is_good(&mut probe);
        let calls = admitted(race(&circuit, vec![records(probe, Verdict::Success, later), admits(later)]));
        assert_eq!((circuit.state(), circuit.generation(), circuit.times_entered(Closed)), (Closed, 3, 1));
        assert!(calls.len() == 1 && !calls[0].is_probe());
    });
}

#[test]
fn a_head_that_comes_while_its_lease_expires_is_counted_then_or_at_the_end() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let mut probe = circuit.admit(|| WAIT, || None).unwrap();
        let later = WAIT + LEASE;
        let has_head: Step<Option<Admission>> = Box::new(move |circuit| {
            circuit.head_is_good(&mut probe);
            Some(probe)
        });
        let calls = admitted(race(&circuit, vec![has_head, admits(later)]));
        circuit.record(calls[0], Verdict::Success, || later);
        assert_eq!((circuit.state(), circuit.times_entered(Closed)), (Closed, 1));
        circuit.history_is_sound();
    });
}

/// A prober that makes a call, where it may, and what comes of it.
fn supplies(verdict: Verdict, now: Nanos) -> Step<Option<Admission>> {
    Box::new(move |circuit| match circuit.turn(now) {
        Turn::Probe { admission, .. } => {
            circuit.record(admission, verdict, || now);
            Some(admission)
        }
        Turn::After(_) | Turn::Idle => None,
    })
}

#[test]
fn a_prober_and_racing_callers_get_exactly_the_allowed_probes() {
    check(|| {
        let circuit = opened(Settings { success_threshold: 3, ..CONSECUTIVE });
        let probes: Step<Option<Admission>> = Box::new(|circuit| match circuit.turn(WAIT) {
            Turn::Probe { admission, .. } => Some(admission),
            Turn::After(_) | Turn::Idle => None,
        });
        let probes = admitted(race(&circuit, vec![probes, admits(WAIT), admits(WAIT)]));
        assert_eq!(probes.len(), 1);
        assert_eq!((circuit.counted(WAIT).probes, circuit.times_entered(HalfOpen)), (1, 1));
    });
}

#[test]
fn probers_close_no_circuit_beside_calls() {
    let settings = Settings { max_concurrent_probes: 2, success_threshold: 2, ..CONSECUTIVE };
    // By themselves they supply one of two successes, however many probers there are.
    check(move || {
        let circuit = opened(settings);
        let supplied = race(&circuit, vec![supplies(Verdict::Success, WAIT), supplies(Verdict::Success, WAIT)]);
        assert_eq!((circuit.state(), admitted(supplied).len()), (HalfOpen, 1));
        assert!(supplies(Verdict::Success, WAIT + WAIT - 1)(&circuit).is_none());
    });
    // A call that fails keeps it open, and one that succeeds closes it.
    for verdict in [Verdict::Failure, Verdict::Success] {
        check(move || {
            let circuit = opened(settings);
            let calls: Step<Option<Admission>> = Box::new(move |circuit| {
                let admission = circuit.admit(|| WAIT, || None).ok()?;
                circuit.record(admission, verdict, || WAIT);
                Some(admission)
            });
            let again = supplies(Verdict::Success, WAIT);
            let prober: Step<Option<Admission>> = Box::new(move |circuit| {
                supplies(Verdict::Success, WAIT)(circuit);
                again(circuit)
            });
            race(&circuit, vec![prober, calls]);
            match verdict {
                Verdict::Failure => assert_eq!(circuit.state(), Open),
                _ => assert_eq!((circuit.state(), circuit.times_entered(Closed)), (Closed, 1)),
            }
        });
    }
}

#[test]
fn a_prober_closes_the_circuit_after_a_quiet_wait_whatever_became_of_calls() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let leaks: Step<Option<Admission>> = Box::new(|circuit| {
            _ = circuit.admit(|| WAIT, || None);
            None
        });
        let quiet = WAIT + WAIT;
        let leaves: Step<Option<Admission>> = Box::new(move |circuit| {
            if let Ok(probe) = circuit.admit(|| quiet, || None) {
                circuit.record(probe, Verdict::Neutral, || quiet);
            }
            None
        });
        race(&circuit, vec![leaks, leaves, supplies(Verdict::Success, quiet)]);
        supplies(Verdict::Success, quiet + LEASE)(&circuit);
        assert_eq!((circuit.state(), circuit.times_entered(Closed)), (Closed, 1));
    });
}

#[test]
fn no_prober_undoes_an_isolation() {
    check(|| {
        let circuit = opened(Settings { success_threshold: 1, ..CONSECUTIVE });
        let isolates: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.isolate();
            None
        });
        race(
            &circuit,
            vec![isolates, supplies(Verdict::Success, WAIT + WAIT), supplies(Verdict::Failure, WAIT + WAIT)],
        );
        assert_eq!(circuit.state(), Isolated);
        assert!(matches!(circuit.turn(Nanos::MAX), Turn::Idle));
    });
}

#[test]
fn each_caller_who_leaves_after_a_quiet_wait_makes_room_for_one_probe_more() {
    check(|| {
        let circuit = opened(Settings { max_concurrent_probes: 2, ..CONSECUTIVE });
        let quiet = WAIT + WAIT;
        let leave = [circuit.admit(|| quiet - 1, || None).unwrap(), circuit.admit(|| quiet - 1, || None).unwrap()];
        let steps = leave.map(|probe| records(probe, Verdict::Neutral, quiet)).into_iter().chain([admits(quiet)]);
        let racing = admitted(race(&circuit, steps.collect())).len();
        let after = std::iter::from_fn(|| circuit.admit(|| quiet, || None).ok()).count();
        assert_eq!(racing + after, 4);
        // A result ends that, with the episode.
        let probe = leave[0];
        circuit.record(probe, Verdict::Failure, || quiet);
        let again = quiet + WAIT;
        assert_eq!(std::iter::from_fn(|| circuit.admit(|| again, || None).ok()).count(), 2);
    });
}

#[test]
fn racing_callers_without_enough_time_leave_the_permit_to_one_who_has_it() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let hurried = circuit.admit(|| WAIT, || Some(1)).unwrap();
        circuit.record(hurried, Verdict::Neutral, || WAIT + 1);
        let hurries = || -> Step<Option<Admission>> { Box::new(|circuit| circuit.admit(|| WAIT + 1, || Some(1)).ok()) };
        let has_time: Step<Option<Admission>> = Box::new(|circuit| circuit.admit(|| WAIT + 1, || Some(2)).ok());
        let let_in = race(&circuit, vec![hurries(), has_time, hurries()]);
        assert!(let_in[0].is_none() && let_in[1].is_some() && let_in[2].is_none());
    });
}

#[test]
fn a_trip_happens_once() {
    for settings in [
        Settings { trip: Trip::Consecutive { failures: 1 }, ..CONSECUTIVE },
        CONSECUTIVE,
        rate(1.0, 1, 1),
        rate(0.5, 2, 2),
    ] {
        check(move || {
            let circuit = circuit(settings);
            let failing = (0..3).map(|_| records(circuit.admit(|| 0, || None).unwrap(), Verdict::Failure, 0)).collect();
            race(&circuit, failing);
            assert_eq!(circuit.state(), Open);
            assert_eq!((circuit.times_entered(Open), circuit.generation()), (1, 1));
        });
    }
}

#[test]
fn no_failure_is_lost() {
    for settings in [CONSECUTIVE, rate(1.0, 2, 2), rate(0.5, 4, 2)] {
        check(move || {
            let circuit = circuit(settings);
            race(&circuit, vec![calls(Verdict::Failure), calls(Verdict::Failure)]);
            assert_eq!((circuit.state(), circuit.times_entered(Open)), (Open, 1));
        });
    }
    check(|| {
        let circuit = circuit(rate(0.5, 4, 2));
        race(&circuit, vec![calls(Verdict::Failure), calls(Verdict::Failure), calls(Verdict::Success)]);
        assert_eq!(circuit.state(), Open);
    });
}

/// So many failures in a row, or all of 4 calls.
const fn either(failures: u32, window: WindowSize) -> Settings {
    Settings { trip: Trip::Either { failures, share: Share::new(1.0), min_calls: 4 }, window, ..CONSECUTIVE }
}

#[test]
fn no_failure_in_a_row_is_lost_beside_a_share_and_they_trip_once() {
    for window in [WindowSize::Calls(4), WindowSize::Time(20)] {
        check(move || {
            let circuit = circuit(either(2, window));
            race(&circuit, vec![calls(Verdict::Failure), calls(Verdict::Failure)]);
            assert_eq!((circuit.state(), circuit.times_entered(Open), circuit.generation()), (Open, 1, 1));
        });
        // Both policies trip at once.
        check(move || {
            let trip = Trip::Either { failures: 1, share: Share::new(1.0), min_calls: 1 };
            let circuit = circuit(Settings { trip, window, ..CONSECUTIVE });
            let [first, second] = [0, 0].map(|now| circuit.admit(|| now, || None).unwrap());
            race(&circuit, vec![records(first, Verdict::Failure, 0), records(second, Verdict::Failure, 0)]);
            assert_eq!((circuit.state(), circuit.times_entered(Open), circuit.generation()), (Open, 1, 1));
        });
    }
}

#[test]
fn a_success_clears_the_failures_in_a_row_before_it_and_no_others() {
    check(|| {
        let circuit = circuit(either(2, WindowSize::Calls(4)));
        circuit.call(Verdict::Failure, 0);
        race(&circuit, vec![calls(Verdict::Success), calls(Verdict::Failure)]);
        let counted = circuit.counted(0);
        assert!(circuit.state() == Open || counted.in_a_row <= 1, "{counted:?}");
    });
}

#[test]
fn a_failure_from_before_a_reset_is_not_counted_in_a_row_after_it() {
    check(|| {
        let circuit = circuit(either(2, WindowSize::Calls(4)));
        let late = circuit.admit(|| 0, || None).unwrap();
        let resets: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.reset();
            circuit.call(Verdict::Failure, 0);
            None
        });
        race(&circuit, vec![records(late, Verdict::Failure, 0), resets]);
        assert_eq!((circuit.state(), circuit.counted(0).in_a_row), (Closed, 1));
    });
}

/// Ticks of 10.
const fn timed(share: f64, min_calls: u32) -> Settings {
    Settings {
        trip: Trip::FailureRate { share: Share::new(share), min_calls },
        window: WindowSize::Time(20),
        ..CONSECUTIVE
    }
}

fn fails_at(now: Nanos) -> Step<()> {
    Box::new(move |circuit| {
        if let Ok(admission) = circuit.admit(|| now, || None) {
            circuit.record(admission, Verdict::Failure, || now);
        }
    })
}

#[test]
fn no_failure_is_lost_between_two_ticks() {
    for (first, second) in [(5, 5), (9, 10), (0, 10)] {
        check(move || {
            let circuit = circuit(timed(1.0, 2));
            race(&circuit, vec![fails_at(first), fails_at(second)]);
            assert_eq!((circuit.state(), circuit.times_entered(Open)), (Open, 1));
        });
    }
}

#[test]
fn a_window_of_time_trips_once() {
    check(|| {
        let circuit = circuit(timed(0.5, 1));
        let failing =
            (0..3).map(|now| records(circuit.admit(|| 0, || None).unwrap(), Verdict::Failure, now * 9)).collect();
        race(&circuit, failing);
        assert_eq!((circuit.state(), circuit.times_entered(Open), circuit.generation()), (Open, 1, 1));
    });
}

#[test]
fn a_late_failure_leaves_no_mark_in_the_next_window_of_time() {
    check(|| {
        let circuit = circuit(timed(1.0, 3));
        let late = circuit.admit(|| 0, || None).unwrap();
        let resets: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.reset();
            circuit.call(Verdict::Failure, 9);
            None
        });
        race(&circuit, vec![records(late, Verdict::Failure, 10), resets]);
        assert_eq!(circuit.counted(10), Counted { calls: 1, failures: 1, ..Counted::default() });
    });
}

const SLOW: Finished = Finished { verdict: Verdict::Success, slow: true, asked: None, abandoned: false };

const fn slow_rate(share: f64, window: u32, min_calls: u32) -> Settings {
    Settings {
        slow: Some(SlowRate { share: Share::new(share), min_calls }),
        window: WindowSize::Calls(window),
        ..CONSECUTIVE
    }
}

fn is_slow() -> Step<()> {
    Box::new(|circuit| {
        if let Ok(admission) = circuit.admit(|| 0, || None) {
            circuit.record(admission, SLOW, || 0);
        }
    })
}

#[test]
fn no_slow_call_is_lost_and_they_trip_once() {
    for settings in [slow_rate(1.0, 2, 2), slow_rate(0.5, 4, 2)] {
        check(move || {
            let circuit = circuit(settings);
            race(&circuit, vec![is_slow(), is_slow()]);
            assert_eq!((circuit.state(), circuit.times_entered(Open)), (Open, 1));
        });
    }
    // A slow call and a failure that both trip.
    check(|| {
        let circuit = circuit(Settings { trip: Trip::Consecutive { failures: 1 }, ..slow_rate(1.0, 1, 1) });
        let admissions = [circuit.admit(|| 0, || None).unwrap(), circuit.admit(|| 0, || None).unwrap()];
        let [first, second] = admissions;
        let slow: Step<Option<Admission>> = Box::new(move |circuit| {
            circuit.record(first, SLOW, || 0);
            None
        });
        race(&circuit, vec![slow, records(second, Verdict::Failure, 0)]);
        assert_eq!((circuit.state(), circuit.times_entered(Open), circuit.generation()), (Open, 1, 1));
    });
}

#[test]
fn a_slow_call_from_before_a_reset_is_not_counted_after_it() {
    check(move || {
        let circuit = circuit(slow_rate(1.0, 2, 2));
        let late = circuit.admit(|| 0, || None).unwrap();
        let slow: Step<()> = Box::new(move |circuit| circuit.record(late, SLOW, || 0));
        race(&circuit, vec![slow, Box::new(Circuit::reset)]);
        assert_eq!(circuit.counted(0), Counted::default());
        circuit.call(Verdict::Success, 0);
        race(&circuit, vec![is_slow()]);
        assert_eq!((circuit.state(), circuit.counted(0).slow), (Closed, 1));
    });
}

#[test]
fn a_success_clears_the_failures_before_it_and_no_others() {
    check(|| {
        let circuit = circuit(CONSECUTIVE);
        circuit.call(Verdict::Failure, 0);
        race(&circuit, vec![calls(Verdict::Success), calls(Verdict::Failure)]);
        let counted = circuit.counted(0);
        assert!(circuit.state() == Open || counted.failures == 1, "{counted:?}");
    });
}

#[test]
fn nothing_undoes_an_isolation() {
    check(|| {
        let circuit = circuit(CONSECUTIVE);
        circuit.call(Verdict::Failure, 0);
        race(&circuit, vec![Box::new(Circuit::isolate), calls(Verdict::Failure), calls(Verdict::Success)]);
        assert_eq!(circuit.state(), Isolated);
        assert!(circuit.admit(|| Nanos::MAX, || None).is_err());
    });
    for verdict in [Verdict::Success, Verdict::Failure] {
        check(move || {
            let circuit = opened(CONSECUTIVE);
            let probe = circuit.admit(|| WAIT, || None).unwrap();
            let isolates: Step<Option<Admission>> = Box::new(|circuit| {
                circuit.isolate();
                None
            });
            race(&circuit, vec![isolates, records(probe, verdict, WAIT), admits(WAIT + LEASE)]);
            assert_eq!(circuit.state(), Isolated);
            assert!(circuit.admit(|| Nanos::MAX, || None).is_err());
        });
    }
}

#[test]
fn a_circuit_that_was_closed_refuses_nobody() {
    check(|| {
        let circuit = opened(CONSECUTIVE);
        let closes: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.close();
            circuit.admit(|| 1, || None).ok()
        });
        let looks: Step<Option<Admission>> = Box::new(|circuit| {
            _ = circuit.admit(|| 1, || None);
            None
        });
        assert_eq!(admitted(race(&circuit, vec![closes, looks])).len(), 1);
        assert!(circuit.would_refuse(|| 1).is_none());
    });
}

/// Another window than any of [`OTHERS`] has.
const NEW: Settings = rate(1.0, 3, 3);

const OTHERS: [Settings; 5] =
    [CONSECUTIVE, rate(1.0, 2, 2), timed(1.0, 2), slow_rate(1.0, 2, 2), either(2, WindowSize::Calls(2))];

fn reloads(circuit: &Circuit<Log>, settings: &Settings) {
    circuit.observer.settings.set(settings);
    circuit.reload(settings);
}

#[test]
fn a_result_from_before_a_reload_leaves_no_mark_in_the_new_window() {
    for (from, to) in OTHERS.into_iter().flat_map(|other| [(other, NEW), (NEW, other)]) {
        check(move || {
            let circuit = circuit(from);
            let late = circuit.admit(|| 0, || None).unwrap();
            let reloads: Step<Option<Admission>> = Box::new(move |circuit| {
                reloads(circuit, &to);
                circuit.call(Verdict::Failure, 0);
                None
            });
            race(&circuit, vec![records(late, Verdict::Failure, 0), reloads]);
            assert_eq!((circuit.counted(0).calls, circuit.counted(0).failures), (1, 1));
        });
    }
}

#[test]
fn a_trip_and_a_reload_at_once_leave_a_circuit_that_counts_in_the_new_window() {
    for from in OTHERS {
        check(move || {
            let circuit = circuit(from);
            circuit.record(circuit.admit(|| 0, || None).unwrap(), SLOW, || 0);
            circuit.call(Verdict::Failure, 0);
            let late = circuit.admit(|| 0, || None).unwrap();
            let slow = Finished { verdict: Verdict::Failure, ..SLOW };
            let trips: Step<()> = Box::new(move |circuit| circuit.record(late, slow, || 0));
            race(&circuit, vec![trips, Box::new(|circuit| reloads(circuit, &NEW))]);
            assert!(circuit.generation() <= 2);
            circuit.reset();
            (0..2).for_each(|_| circuit.call(Verdict::Failure, 0));
            assert_eq!((circuit.counted(0).calls, circuit.counted(0).failures), (2, 2));
            circuit.call(Verdict::Failure, 0);
            assert_eq!(circuit.state(), Open);
        });
    }
}

#[test]
fn a_failure_counts_in_the_latest_window_however_often_that_is_replaced_meanwhile() {
    check(|| {
        let circuit = circuit(rate(1.0, 2, 2));
        // The first window is kept, the second is freed by the third.
        reloads(&circuit, &rate(1.0, 4, 4));
        let late = circuit.admit(|| 0, || None).unwrap();
        let reloads: Step<Option<Admission>> = Box::new(|circuit| {
            reloads(circuit, &NEW);
            circuit.call(Verdict::Failure, 0);
            None
        });
        race(&circuit, vec![records(late, Verdict::Failure, 0), reloads]);
        assert_eq!((circuit.counted(0).calls, circuit.counted(0).failures), (1, 1));
    });
}

fn switches(mode: CircuitMode) -> Step<Option<Admission>> {
    Box::new(move |circuit| {
        circuit.set_mode(mode);
        None
    })
}

const OBSERVED: Settings = Settings { mode: CircuitMode::Observing, ..CONSECUTIVE };

#[test]
fn a_circuit_that_begins_to_enforce_refuses_nobody_by_what_it_only_observed() {
    check(|| {
        let circuit = opened_by_observing();
        let looks: Step<Option<Admission>> = Box::new(|circuit| Some(circuit.admit(|| 1, || None).unwrap()));
        race(&circuit, vec![switches(CircuitMode::Enforcing), looks, admits(1)]);
        assert_eq!((circuit.state(), circuit.observed_state()), (Closed, Closed));
    });
}

#[test]
fn a_trip_and_a_switch_at_once_leave_no_circuit_open_by_what_was_counted_before() {
    check(|| {
        let circuit = circuit(OBSERVED);
        circuit.call(Verdict::Failure, 0);
        let late = circuit.admit(|| 0, || None).unwrap();
        race(&circuit, vec![switches(CircuitMode::Enforcing), records(late, Verdict::Failure, 0)]);
        assert_eq!((circuit.state(), circuit.counted(0).failures), (Closed, 0));
        assert!(circuit.admit(|| 0, || None).is_ok());
    });
}

#[test]
fn a_probe_and_a_switch_at_once_leave_no_lease_behind() {
    check(|| {
        let circuit = opened_by_observing();
        race(&circuit, vec![switches(CircuitMode::Enforcing), admits(WAIT), supplies(Verdict::Success, WAIT)]);
        assert_eq!(circuit.state(), Closed);
        (0..2).for_each(|_| circuit.call(Verdict::Failure, WAIT));
        assert_eq!(circuit.state(), Open);
    });
}

fn opened_by_observing() -> Shared {
    let circuit = circuit(OBSERVED);
    (0..2).for_each(|_| circuit.call(Verdict::Failure, 0));
    assert_eq!(circuit.observed_state(), Open);
    circuit
}

/// How long a step of [`ramping`] lasts. Ten calls have finished in it already.
const STEP: Nanos = 10;

/// A circuit that began its ramp at [`WAIT`], by these shares.
fn ramping(shares: &[f64], settings: Settings) -> Shared {
    let circuit = opened(Settings { ramp: RampRule::new(shares, STEP), ..settings });
    circuit.call(Verdict::Success, WAIT);
    assert_eq!(circuit.state(), Recovering);
    circuit
}

/// Makes calls that succeed, so that time alone is missing for the next step.
fn finishes_ten(circuit: &Circuit<Log>) {
    let admitted = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).filter_map(Result::ok);
    admitted.take(10).for_each(|admission| circuit.record(admission, Verdict::Success, || WAIT));
}

#[test]
fn racing_callers_get_exactly_the_share_of_a_ramp() {
    check(|| {
        let circuit = ramping(&[0.5], CONSECUTIVE);
        let two = || -> Step<usize> {
            Box::new(|circuit| (0..2).filter(|_| circuit.admit(|| WAIT, || None).is_ok()).count())
        };
        assert_eq!(race(&circuit, vec![two(), two()]).iter().sum::<usize>(), 2);
    });
    check(|| {
        let circuit = ramping(&[0.25], CONSECUTIVE);
        let admitted = admitted(race(&circuit, vec![admits(WAIT), admits(WAIT), admits(WAIT)]));
        let next = admits(WAIT)(&circuit);
        assert_eq!(admitted.len() + usize::from(next.is_some()), 1);
    });
}

#[test]
fn racing_callers_begin_the_next_step_once_and_close_once() {
    check(|| {
        let circuit = ramping(&[0.25, 0.5], CONSECUTIVE);
        finishes_ten(&circuit);
        let now = WAIT + STEP;
        race(&circuit, vec![admits(now), admits(now), admits(now)]);
        assert_eq!((circuit.state(), circuit.generation()), (Recovering, 3), "one step, not two");
        assert!(circuit.admitted_share() <= 0.5);
    });
    check(|| {
        let circuit = ramping(&[0.25], CONSECUTIVE);
        finishes_ten(&circuit);
        let now = WAIT + STEP;
        race(&circuit, vec![admits(now), admits(now)]);
        // Of three calls at least one is refused by the share.
        admits(now)(&circuit);
        assert_eq!((circuit.state(), circuit.times_entered(Closed)), (Closed, 1));
        assert!(admits(now)(&circuit).is_some());
    });
}

#[test]
fn calls_that_finish_at_once_are_all_counted_towards_the_end_of_a_step() {
    check(|| {
        let circuit = ramping(&[0.5], CONSECUTIVE);
        let admitted = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).filter_map(Result::ok);
        let mut admitted: Vec<_> = admitted.take(10).collect();
        let last = [admitted.pop().unwrap(), admitted.pop().unwrap()];
        admitted.into_iter().for_each(|admission| circuit.record(admission, Verdict::Success, || WAIT));
        race(&circuit, last.map(|admission| records(admission, Verdict::Success, WAIT)).into());
        (0..2).for_each(|_| _ = admits(WAIT + STEP)(&circuit));
        assert_eq!(circuit.state(), Closed);
    });
}

#[test]
fn a_failing_ramp_opens_once_whatever_its_steps_do() {
    for settings in [CONSECUTIVE, rate(1.0, 2, 2), timed(1.0, 2)] {
        check(move || {
            let circuit = ramping(&[0.5], settings);
            let admitted = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).filter_map(Result::ok);
            let [first, second] = admitted.take(2).collect::<Vec<_>>()[..] else { unreachable!() };
            race(&circuit, vec![records(first, Verdict::Failure, WAIT), records(second, Verdict::Failure, WAIT)]);
            assert_eq!((circuit.state(), circuit.times_entered(Open)), (Open, 2));
            assert_eq!(circuit.remaining_wait(WAIT), Some(WAIT));
        });
    }
    check(|| {
        let circuit = ramping(&[0.25], Settings { trip: Trip::Consecutive { failures: 1 }, ..CONSECUTIVE });
        finishes_ten(&circuit);
        let late = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).find_map(Result::ok).unwrap();
        let now = WAIT + STEP;
        race(&circuit, vec![records(late, Verdict::Failure, now), admits(now)]);
        // Either it tripped before the step ended, or it counts nowhere.
        match circuit.state() {
            Open => assert_eq!(circuit.times_entered(Closed), 0),
            state => assert_eq!((state, circuit.counted(now).failures), (Closed, 0)),
        }
    });
}

#[test]
fn no_result_of_a_trial_counts_in_the_ramp_after_it() {
    check(|| {
        let settings = Settings { max_concurrent_probes: 2, ..CONSECUTIVE };
        let circuit = opened(Settings { ramp: RampRule::new(&[0.5], STEP), ..settings });
        let [first, second] = [WAIT, WAIT].map(|now| circuit.admit(|| now, || None).unwrap());
        race(&circuit, vec![records(first, Verdict::Success, WAIT), records(second, Verdict::Failure, WAIT)]);
        match circuit.state() {
            Recovering => assert_eq!(circuit.counted(WAIT), Counted::default()),
            state => assert_eq!(state, Open),
        }
    });
}

#[test]
fn what_an_operator_does_to_a_ramp_holds() {
    check(|| {
        let circuit = ramping(&[0.5], Settings { trip: Trip::Consecutive { failures: 1 }, ..CONSECUTIVE });
        finishes_ten(&circuit);
        let late = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).find_map(Result::ok).unwrap();
        let isolates: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.isolate();
            None
        });
        let now = WAIT + STEP;
        race(&circuit, vec![isolates, records(late, Verdict::Failure, now), admits(now)]);
        assert_eq!(circuit.state(), Isolated);
        assert!(circuit.admit(|| Nanos::MAX, || None).is_err());
    });
    check(|| {
        let circuit = ramping(&[0.25], CONSECUTIVE);
        let closes: Step<Option<Admission>> = Box::new(|circuit| {
            circuit.close();
            circuit.admit(|| WAIT, || None).ok()
        });
        assert!(race(&circuit, vec![closes, admits(WAIT), admits(WAIT)])[0].is_some());
    });
}

#[test]
fn a_reload_and_a_result_at_once_leave_a_ramp_that_counts_in_the_new_window() {
    check(|| {
        let circuit = ramping(&[0.5], rate(1.0, 2, 2));
        let late = std::iter::from_fn(|| Some(circuit.admit(|| WAIT, || None))).find_map(Result::ok).unwrap();
        let reloads: Step<Option<Admission>> = Box::new(|circuit| {
            reloads(circuit, &NEW);
            None
        });
        race(&circuit, vec![records(late, Verdict::Failure, WAIT), reloads]);
        assert_eq!((circuit.state(), circuit.counted(WAIT)), (Recovering, Counted::default()));
    });
}

#[test]
fn a_switch_ends_a_ramp_that_was_only_observed() {
    check(|| {
        let circuit = circuit(Settings { ramp: RampRule::new(&[0.25], STEP), ..OBSERVED });
        (0..2).for_each(|_| circuit.call(Verdict::Failure, 0));
        circuit.call(Verdict::Success, WAIT);
        assert_eq!(circuit.observed_state(), Recovering);
        let all = race(&circuit, vec![switches(CircuitMode::Enforcing), admits(WAIT), admits(WAIT)]);
        assert_eq!((admitted(all).len(), circuit.state(), circuit.observed_state()), (2, Closed, Closed));
    });
}
