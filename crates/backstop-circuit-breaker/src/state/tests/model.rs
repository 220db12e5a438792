//! The circuit against a sequential model that is written for clarity alone.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Call(Verdict),
    Start,
    Finish(usize, Verdict),
    /// A call that never ends.
    Leak(usize),
    Pass(Nanos),
    Isolate,
    Close,
    Reset,
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![3 => Just(Verdict::Failure), 3 => Just(Verdict::Success), 1 => Just(Verdict::Neutral)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => verdict().prop_map(Step::Call),
        6 => Just(Step::Start),
        6 => (any::<usize>(), verdict()).prop_map(|(which, verdict)| Step::Finish(which, verdict)),
        1 => any::<usize>().prop_map(Step::Leak),
        4 => (0..12 * SECOND).prop_map(Step::Pass),
        1 => Just(Step::Isolate),
        1 => Just(Step::Close),
        1 => Just(Step::Reset),
    ]
}

fn settings() -> impl Strategy<Value = Settings> {
    let consecutive = (1..5u32).prop_map(|failures| Trip::Consecutive { failures });
    let rate = (1..=SHARE_UNIT, 1..70u32).prop_flat_map(|(share, window)| {
        (1..=window).prop_map(move |min_calls| Trip::FailureRate { share, window, min_calls })
    });
    (prop_oneof![consecutive, rate], 1..20u64, 1..4u32, 1..4u32, 1..20u64).prop_map(
        |(trip, wait, success_threshold, max_concurrent_probes, probe_lease)| Settings {
            trip,
            wait: wait * SECOND,
            success_threshold,
            max_concurrent_probes,
            probe_lease: probe_lease * SECOND,
        },
    )
}

enum ModelState {
    Closed(VecDeque<bool>),
    Open { until: Nanos },
    HalfOpen { leases: HashMap<u64, Nanos>, successes: u32 },
    Isolated,
}

struct Model {
    settings: Settings,
    state: ModelState,
    generation: u64,
    ids: u64,
}

impl Model {
    fn enter(&mut self, state: ModelState) {
        self.state = state;
        self.generation += 1;
    }

    /// The generation and the id of the call, if it is let in.
    fn admit(&mut self, now: Nanos) -> Result<(u64, u64), Refused> {
        if matches!(self.state, ModelState::Open { until } if until <= now) {
            self.enter(ModelState::HalfOpen { leases: HashMap::new(), successes: 0 });
        }
        match &mut self.state {
            ModelState::Closed(_) => {}
            ModelState::Open { until } => return Err(Refused { state: Open, wait: Some(*until - now) }),
            ModelState::Isolated => return Err(Refused { state: Isolated, wait: None }),
            ModelState::HalfOpen { leases, .. } => {
                leases.retain(|_, until| *until > now);
                if leases.len() == self.settings.max_concurrent_probes as usize {
                    return Err(Refused { state: HalfOpen, wait: Some(0) });
                }
                leases.insert(self.ids + 1, now + self.settings.probe_lease);
            }
        }
        self.ids += 1;
        Ok((self.generation, self.ids))
    }

    fn record(&mut self, (generation, id): (u64, u64), verdict: Verdict, now: Nanos) {
        if generation != self.generation {
            return;
        }
        let opens = match &mut self.state {
            ModelState::Closed(results) => {
                match verdict {
                    Verdict::Neutral => return,
                    Verdict::Success => results.push_back(false),
                    Verdict::Failure => results.push_back(true),
                }
                match self.settings.trip {
                    Trip::Consecutive { failures } => {
                        results.iter().rev().take_while(|f| **f).count() == failures as usize
                    }
                    Trip::FailureRate { share, window, min_calls } => {
                        if results.len() > window as usize {
                            results.pop_front();
                        }
                        let failures = results.iter().filter(|failed| **failed).count();
                        verdict == Verdict::Failure
                            && results.len() >= min_calls as usize
                            && failures as f64 / results.len() as f64 >= f64::from(share) / f64::from(SHARE_UNIT)
                    }
                }
            }
            ModelState::HalfOpen { leases, successes } => {
                leases.remove(&id);
                *successes += u32::from(verdict == Verdict::Success);
                if *successes == self.settings.success_threshold {
                    return self.enter(ModelState::Closed(VecDeque::new()));
                }
                verdict == Verdict::Failure
            }
            ModelState::Open { .. } | ModelState::Isolated => false,
        };
        if opens {
            self.enter(ModelState::Open { until: now + self.settings.wait });
        }
    }

    fn close(&mut self) {
        self.enter(ModelState::Closed(VecDeque::new()));
    }

    fn state(&self) -> CircuitState {
        match self.state {
            ModelState::Closed(_) => Closed,
            ModelState::Open { .. } => Open,
            ModelState::HalfOpen { .. } => HalfOpen,
            ModelState::Isolated => Isolated,
        }
    }

    fn counted(&self) -> Counted {
        match &self.state {
            ModelState::Closed(results) => {
                let failed = |results: &mut dyn Iterator<Item = &bool>| results.filter(|f| **f).count() as u32;
                let (calls, failures) = match self.settings.trip {
                    Trip::Consecutive { .. } => {
                        let run = failed(&mut results.iter().rev().take_while(|f| **f));
                        (run, run)
                    }
                    Trip::FailureRate { .. } => (results.len() as u32, failed(&mut results.iter())),
                };
                Counted { calls, failures, ..Counted::default() }
            }
            ModelState::HalfOpen { leases, successes } => {
                Counted { probes: leases.len() as u32, probe_successes: *successes, ..Counted::default() }
            }
            ModelState::Open { .. } | ModelState::Isolated => Counted::default(),
        }
    }
}

fn agree(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let circuit = circuit(settings);
    let mut model = Model { settings, state: ModelState::Closed(VecDeque::new()), generation: 0, ids: 0 };
    let mut running = Vec::new();
    let mut now = 0;
    for step in steps {
        match step {
            Step::Call(_) | Step::Start => {
                let would_refuse = circuit.would_refuse(|| now);
                let (real, modelled) = (circuit.admit(|| now), model.admit(now));
                prop_assert_eq!(would_refuse.as_ref(), real.as_ref().err());
                prop_assert_eq!(real.as_ref().err(), modelled.as_ref().err());
                match (real, modelled, step) {
                    (Ok(real), Ok(modelled), Step::Call(verdict)) => {
                        circuit.record(real, verdict, || now);
                        model.record(modelled, verdict, now);
                    }
                    (Ok(real), Ok(modelled), _) => running.push((real, modelled)),
                    _ => {}
                }
            }
            Step::Finish(which, verdict) if !running.is_empty() => {
                let (real, modelled) = running.swap_remove(which % running.len());
                circuit.record(real, verdict, || now);
                model.record(modelled, verdict, now);
            }
            Step::Leak(which) if !running.is_empty() => drop(running.swap_remove(which % running.len())),
            Step::Finish(..) | Step::Leak(_) => {}
            Step::Pass(time) => now += time,
            Step::Isolate => {
                circuit.isolate();
                if model.state() != Isolated {
                    model.enter(ModelState::Isolated);
                }
            }
            Step::Close => {
                circuit.close();
                if model.state() != Closed {
                    model.close();
                }
            }
            Step::Reset => {
                circuit.reset();
                model.close();
            }
        }
        prop_assert_eq!(circuit.state(), model.state());
        prop_assert_eq!(circuit.counted(), model.counted());
        prop_assert_eq!(circuit.generation(), model.generation);
        if let ModelState::Open { until } = model.state {
            prop_assert_eq!(circuit.remaining_wait(now), Some(until.saturating_sub(now)));
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_what_a_sequential_model_does(
        settings in settings(),
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        agree(settings, steps)?;
    }
}
