//! The circuit against a simple sequential model.

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Call(Finished, Option<Nanos>),
    Start(Option<Nanos>),
    /// A prober makes a call, if it may.
    Supply,
    Finish(usize, Finished),
    /// The head of a call's response is good.
    Head(usize),
    /// A call that never ends.
    Leak(usize),
    Pass(Nanos),
    Isolate,
    Close,
    Reset,
    Reload(Settings),
    Switch(CircuitMode),
}

fn finished() -> impl Strategy<Value = Finished> {
    let verdict = prop_oneof![3 => Just(Verdict::Failure), 3 => Just(Verdict::Success), 1 => Just(Verdict::Neutral)];
    let asked = proptest::option::weighted(0.2, 0..30 * SECOND);
    let leaves = proptest::bool::weighted(0.7);
    (verdict, proptest::bool::weighted(0.3), asked, leaves).prop_map(|(verdict, slow, asked, leaves)| Finished {
        verdict,
        slow,
        asked,
        abandoned: leaves && verdict == Verdict::Neutral,
    })
}

fn time_left() -> impl Strategy<Value = Option<Nanos>> {
    proptest::option::of(0..10 * SECOND)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (finished(), time_left()).prop_map(|(finished, time_left)| Step::Call(finished, time_left)),
        6 => time_left().prop_map(Step::Start),
        3 => Just(Step::Supply),
        6 => (any::<usize>(), finished()).prop_map(|(which, finished)| Step::Finish(which, finished)),
        2 => any::<usize>().prop_map(Step::Head),
        1 => any::<usize>().prop_map(Step::Leak),
        4 => (0..12 * SECOND).prop_map(Step::Pass),
        1 => Just(Step::Isolate),
        1 => Just(Step::Close),
        1 => Just(Step::Reset),
        1 => settings().prop_map(Step::Reload),
        1 => mode().prop_map(Step::Switch),
    ]
}

fn mode() -> impl Strategy<Value = CircuitMode> {
    prop_oneof![3 => Just(Enforcing), 1 => Just(Observing)]
}

fn ramp() -> impl Strategy<Value = RampRule> {
    let shares = proptest::collection::vec(0.05..0.95_f64, 0..4);
    (shares, 1..20u64).prop_map(|(shares, each)| RampRule::new(&shares, each * SECOND))
}

/// A window, and two numbers of calls that fit it.
fn window() -> impl Strategy<Value = (WindowSize, u32, u32)> {
    let calls = (1..70u32).prop_flat_map(|calls| (Just(WindowSize::Calls(calls)), 1..=calls, 1..=calls));
    let time = (1..200u64).prop_map(|time| WindowSize::Time(time * SECOND));
    prop_oneof![calls, (time, 1..20u32, 1..20u32)]
}

fn share() -> impl Strategy<Value = Share> {
    (1..=1_000_000_u32).prop_map(|millionths| Share::new(f64::from(millionths) / 1e6))
}

fn settings() -> impl Strategy<Value = Settings> {
    let in_a_row = (proptest::option::of(1..5u32), any::<bool>());
    let looks_back = (window(), share(), share(), in_a_row, any::<bool>()).prop_map(
        |((window, min_calls, min_slow), share, slow_share, (consecutive, is_either), counts_slow)| {
            let trip = match consecutive {
                None => Trip::FailureRate { share, min_calls },
                Some(failures) if is_either => Trip::Either { failures, share, min_calls },
                Some(failures) => Trip::Consecutive { failures },
            };
            let slow = counts_slow.then_some(SlowRate { share: slow_share, min_calls: min_slow });
            (trip, slow, window)
        },
    );
    let wait = (1..20u64, 0..4u64)
        .prop_map(|(first, more)| WaitRule { max: (first + more * first) * SECOND, ..WaitRule::fixed(first * SECOND) });
    (mode(), looks_back, wait, 1..4u32, 1..4u32, 1..20u64, ramp()).prop_map(
        |(mode, (trip, slow, window), wait, success_threshold, max_concurrent_probes, probe_lease, ramp)| Settings {
            mode,
            trip,
            slow,
            window,
            wait,
            success_threshold,
            max_concurrent_probes,
            probe_lease: probe_lease * SECOND,
            ramp,
            stripes: 1,
        },
    )
}

enum ModelState {
    Closed(Results, Results),
    Open {
        until: Nanos,
    },
    HalfOpen(Trial),
    Isolated,
    /// Counts as if it were closed.
    Ramp(Results, Results, RampStep),
}

struct RampStep {
    number: usize,
    /// In units of 2⁻³².
    share: u32,
    calls: u64,
    finished: u32,
    ends: Nanos,
    ends_in_any_case: Nanos,
}

impl RampStep {
    /// Whether the next call is one of those that its share admits.
    fn admits(&mut self) -> bool {
        let admitted = |calls: u64| (u64::from(self.share) * calls + (1 << 31)) >> 32;
        let admits = admitted(self.calls + 1) > admitted(self.calls);
        self.calls += 1;
        admits
    }

    fn is_over(&self, now: Nanos) -> bool {
        now >= self.ends_in_any_case || (now >= self.ends && self.finished >= 10)
    }
}

#[derive(Default)]
struct Trial {
    leases: HashMap<u64, Lease>,
    successes: u32,
    supplied: u32,
    last_admitted: Nanos,
    last_result: Nanos,
    extra: u32,
}

struct Lease {
    until: Nanos,
    has_good_head: bool,
    started: Nanos,
    time_left: Option<Nanos>,
    is_probers: bool,
}

#[derive(Clone, Copy)]
struct Call {
    generation: u64,
    id: u64,
    /// Whether its lease has a good head.
    lease_knows: bool,
}

/// Calls, with the time when they ended.
type Results = VecDeque<(Nanos, bool)>;

/// What is left in the window.
fn left(results: &Results, window: WindowSize, now: Nanos) -> impl Iterator<Item = bool> + '_ {
    let skipped = match window {
        WindowSize::Calls(calls) => results.len().saturating_sub(calls as usize),
        WindowSize::Time(time) => {
            let tick = time.div_ceil(16);
            results.iter().take_while(|(at, _)| now / tick - at / tick >= 16).count()
        }
    };
    results.iter().skip(skipped).map(|(_, hit)| *hit)
}

/// The failures since the last success.
fn run(results: &Results) -> u32 {
    results.iter().rev().take_while(|(_, failed)| *failed).count() as u32
}

/// Whether `true` results in the window reach `share`.
fn is_tripped(results: &Results, share: Share, window: WindowSize, min_calls: u32, now: Nanos) -> bool {
    let results: Vec<_> = left(results, window, now).collect();
    let hits = results.iter().filter(|hit| **hit).count();
    results.len() >= min_calls as usize
        && hits as f64 / results.len() as f64 >= (share.bits() + 1) as f64 / (1_u64 << Share::BITS) as f64
}

struct Model {
    settings: Settings,
    state: ModelState,
    generation: u64,
    ids: u64,
    failed: u32,
    /// The latest.
    wait: Nanos,
    too_short: Nanos,
    would_have_refused: usize,
}

impl Model {
    fn enter(&mut self, state: ModelState) {
        self.state = state;
        self.generation += 1;
    }

    /// Takes back expired leases, and closes if there are enough successes.
    fn expire(&mut self, now: Nanos) {
        let ModelState::HalfOpen(trial) = &mut self.state else {
            return;
        };
        let mut counted = 0;
        for (_, lease) in
            trial.leases.extract_if(|_, lease| lease.until <= now).filter(|(_, lease)| lease.has_good_head)
        {
            counted += 1;
            trial.last_result = trial.last_result.max(lease.until);
        }
        trial.successes += counted;
        if counted > 0 && trial.successes >= self.settings.success_threshold {
            self.recover(now);
        }
    }

    /// The ramp's step with this number. `None` if there are fewer.
    fn step(&self, number: usize, now: Nanos) -> Option<RampStep> {
        let share = self.settings.ramp.share(number)?;
        let (ends, ends_in_any_case) = (now + self.settings.ramp.each, now + 60 * SECOND);
        Some(RampStep { number, share, calls: 0, finished: 0, ends, ends_in_any_case })
    }

    /// The probes have succeeded.
    fn recover(&mut self, now: Nanos) {
        match self.step(0, now) {
            Some(step) => self.enter(ModelState::Ramp(VecDeque::new(), VecDeque::new(), step)),
            None => self.close(),
        }
    }

    fn ends_step(&mut self, now: Nanos) {
        let ModelState::Ramp(.., step) = &self.state else { return };
        if !step.is_over(now) {
            return;
        }
        let next = self.step(step.number + 1, now);
        match (&mut self.state, next) {
            (ModelState::Ramp(.., step), Some(next)) => *step = next,
            _ => self.close(),
        }
    }

    /// A call's turn in a ramp. A circuit that is closed by now admits it.
    fn takes_turn(&mut self, now: Nanos) -> Result<(), Refused> {
        let ModelState::Ramp(.., step) = &mut self.state else { return Ok(()) };
        if step.admits() { Ok(()) } else { Err(refusal(Recovering, step.ends.saturating_sub(now))) }
    }

    fn starts_trial(&mut self, due: Nanos) {
        let trial = Trial { last_admitted: due, last_result: due, ..Trial::default() };
        self.enter(ModelState::HalfOpen(trial));
    }

    /// An observing circuit admits a call that it would refuse, which doesn't count: in no generation.
    fn admit(&mut self, time_left: Option<Nanos>, now: Nanos) -> Result<Call, Refused> {
        match self.admit_enforcing(time_left, now) {
            Err(refused) if self.settings.mode == Observing && refused.state != Isolated => {
                self.would_have_refused += 1;
                Ok(Call { generation: u64::MAX, id: 0, lease_knows: false })
            }
            result => result,
        }
    }

    fn admit_enforcing(&mut self, time_left: Option<Nanos>, now: Nanos) -> Result<Call, Refused> {
        let was_trial = matches!(self.state, ModelState::HalfOpen(_));
        // A call that is refused because no permit is left checks nothing else.
        if let ModelState::HalfOpen(trial) = &self.state {
            let out = trial.leases.values().filter(|lease| lease.until > now).count();
            if out >= (self.settings.max_concurrent_probes + trial.extra) as usize {
                return Err(refusal(HalfOpen, 0));
            }
        }
        self.expire(now);
        if let Err(refused) = self.takes_turn(now) {
            let ModelState::Ramp(.., step) = &self.state else { return Err(refused) };
            // The call that ended the trial doesn't look whether the ramp is over.
            if was_trial || !step.is_over(now) {
                return Err(refused);
            }
            self.ends_step(now);
            self.takes_turn(now)?;
        }
        let hold = self.wait + self.wait / 4;
        let is_hurried = time_left.is_some_and(|time_left| time_left < self.too_short);
        match self.state {
            ModelState::Open { until } if now < until => return Err(refusal(Open, until - now)),
            ModelState::Open { until } if is_hurried && now < until + hold => {
                return Err(refusal(Open, until + hold - now));
            }
            ModelState::Open { until } => self.starts_trial(until),
            ModelState::HalfOpen(ref trial) if is_hurried && now < trial.last_admitted + hold => {
                return Err(refusal(HalfOpen, 0));
            }
            ModelState::Isolated => return Err(refusal(Isolated, 0)),
            ModelState::HalfOpen(_) | ModelState::Closed(..) | ModelState::Ramp(..) => {}
        }
        if let ModelState::HalfOpen(trial) = &mut self.state {
            let until = now + self.settings.probe_lease;
            let lease = Lease { until, has_good_head: false, started: now, time_left, is_probers: false };
            trial.leases.insert(self.ids + 1, lease);
            trial.last_admitted = now;
        }
        self.ids += 1;
        Ok(Call { generation: self.generation, id: self.ids, lease_knows: false })
    }

    /// The prober's call, if it may make one.
    fn supply(&mut self, now: Nanos) -> Option<Call> {
        if self.settings.mode == Observing {
            return None;
        }
        let was_trial = matches!(self.state, ModelState::HalfOpen(_));
        self.expire(now);
        if !was_trial {
            self.ends_step(now);
        }
        let (supplied, quiet_from) = match &self.state {
            ModelState::Open { until } if *until <= now => (0, Some(until + self.wait)),
            ModelState::HalfOpen(trial) => {
                let out = trial.leases.values().filter(|lease| lease.is_probers).count();
                let is_quiet = out == trial.leases.len();
                (trial.supplied + out as u32, is_quiet.then_some(trial.last_result + self.wait))
            }
            _ => return None,
        };
        if supplied + 1 >= self.settings.success_threshold && quiet_from.is_none_or(|from| now < from) {
            return None;
        }
        if let ModelState::Open { until } = self.state {
            self.starts_trial(until);
        }
        let ModelState::HalfOpen(trial) = &mut self.state else {
            return None;
        };
        if trial.leases.len() >= self.settings.max_concurrent_probes as usize {
            return None;
        }
        self.ids += 1;
        let until = now + self.settings.probe_lease;
        let lease = Lease { until, has_good_head: false, started: now, time_left: None, is_probers: true };
        trial.leases.insert(self.ids, lease);
        // A result after its lease isn't counted.
        Some(Call { generation: self.generation, id: self.ids, lease_knows: true })
    }

    fn head_is_good(&mut self, call: &mut Call) {
        if let ModelState::HalfOpen(trial) = &mut self.state
            && call.generation == self.generation
            && let Some(lease) = trial.leases.get_mut(&call.id)
        {
            lease.has_good_head = true;
            call.lease_knows = true;
        }
    }

    fn record(&mut self, call: Call, Finished { verdict, slow, asked, abandoned }: Finished, now: Nanos) {
        let Call { generation, id, lease_knows } = call;
        if generation != self.generation {
            return;
        }
        let opens = match &mut self.state {
            ModelState::Closed(results, slow_calls) | ModelState::Ramp(results, slow_calls, _) => {
                match verdict {
                    Verdict::Success => results.push_back((now, false)),
                    Verdict::Failure => results.push_back((now, true)),
                    _ => return,
                }
                let window = self.settings.window;
                let by_slow_calls = self.settings.slow.is_some_and(|SlowRate { share, min_calls }| {
                    slow_calls.push_back((now, slow));
                    let tripped = is_tripped(slow_calls, share, window, min_calls, now);
                    slow && tripped
                });
                let trip = self.settings.trip;
                let in_a_row = trip.in_a_row().is_some_and(|failures| run(results) >= failures);
                let by_share =
                    trip.rate().is_some_and(|(share, min_calls)| is_tripped(results, share, window, min_calls, now));
                verdict == Verdict::Failure && (in_a_row || by_share) || by_slow_calls
            }
            ModelState::HalfOpen(trial) => {
                let lease = trial.leases.remove(&id);
                let succeeded = verdict == Verdict::Success;
                if lease.as_ref().is_some_and(|lease| lease.is_probers) {
                    trial.supplied += u32::from(succeeded);
                } else {
                    if !abandoned {
                        trial.last_result = now;
                    } else if now >= trial.last_result + self.wait {
                        trial.extra += 1;
                    }
                    if let Some(Lease { time_left: Some(time_left), started, .. }) = lease {
                        if succeeded {
                            self.too_short = self.too_short.min(time_left);
                        } else if abandoned && now - started >= time_left {
                            self.too_short = self.too_short.max(2 * time_left);
                        }
                    }
                }
                let counts = succeeded && (lease.is_some() || !lease_knows);
                trial.successes += u32::from(counts);
                let failed = verdict == Verdict::Failure || (succeeded && slow);
                if !failed && counts && trial.successes >= self.settings.success_threshold {
                    return self.recover(now);
                }
                failed
            }
            ModelState::Open { .. } | ModelState::Isolated => false,
        };
        if let ModelState::Ramp(.., step) = &mut self.state {
            step.finished += 1;
        }
        if opens {
            if matches!(self.state, ModelState::HalfOpen(_) | ModelState::Ramp(..)) {
                self.failed += 1;
            }
            let WaitRule { first, max, .. } = self.settings.wait;
            let mut wait = first;
            (0..self.failed).for_each(|_| wait = (wait * 2).min(max));
            self.wait = wait.max(asked.unwrap_or(0));
            self.enter(ModelState::Open { until: now + self.wait });
        }
    }

    fn close(&mut self) {
        self.failed = 0;
        self.too_short = 0;
        self.enter(ModelState::Closed(VecDeque::new(), VecDeque::new()));
    }

    fn reload(&mut self, settings: Settings) {
        let windows = |settings: Settings| {
            let Settings { trip, slow, window, .. } = settings;
            (trip.in_a_row().is_some(), trip.rate().map(|_| window), slow.map(|_| window))
        };
        let are_others = windows(settings) != windows(self.settings);
        let mode = self.settings.mode;
        self.settings = Settings { mode, ..settings };
        if are_others {
            match &mut self.state {
                ModelState::Closed(results, slow_calls) => {
                    results.clear();
                    slow_calls.clear();
                    self.generation += 1;
                }
                ModelState::Ramp(results, slow_calls, step) => {
                    results.clear();
                    slow_calls.clear();
                    step.finished = 0;
                    self.generation += 1;
                }
                ModelState::Open { .. } | ModelState::HalfOpen(_) | ModelState::Isolated => {}
            }
        }
        self.switch(settings.mode);
    }

    fn switch(&mut self, mode: CircuitMode) {
        if std::mem::replace(&mut self.settings.mode, mode) == mode {
            return;
        }
        if self.observed_state() == Isolated {
            self.failed = 0;
            self.too_short = 0;
            self.enter(ModelState::Isolated);
        } else {
            self.close();
        }
    }

    fn state(&self) -> CircuitState {
        match (self.settings.mode, self.observed_state()) {
            (Observing, Open | HalfOpen | Recovering) => Closed,
            (_, state) => state,
        }
    }

    fn observed_state(&self) -> CircuitState {
        match self.state {
            ModelState::Closed(..) => Closed,
            ModelState::Open { .. } => Open,
            ModelState::HalfOpen(_) => HalfOpen,
            ModelState::Isolated => Isolated,
            ModelState::Ramp(..) => Recovering,
        }
    }

    fn counted(&self, now: Nanos) -> Counted {
        match &self.state {
            ModelState::Closed(results, slow_calls) | ModelState::Ramp(results, slow_calls, _) => {
                let window = self.settings.window;
                let hits = |results| left(results, window, now).filter(|hit| *hit).count() as u32;
                let in_a_row = self.settings.trip.in_a_row().map_or(0, |_| run(results));
                let (calls, failures) = match self.settings.trip.rate() {
                    None => (in_a_row, in_a_row),
                    Some(_) => (left(results, window, now).count() as u32, hits(results)),
                };
                let slow = self.settings.slow.map_or(0, |_| hits(slow_calls));
                Counted { calls, failures, in_a_row, slow, ..Counted::default() }
            }
            ModelState::HalfOpen(trial) => {
                let probes = trial.leases.values().filter(|lease| lease.until > now).count() as u32;
                Counted { probes, probe_successes: trial.successes, ..Counted::default() }
            }
            ModelState::Open { .. } | ModelState::Isolated => Counted::default(),
        }
    }
}

fn agree(settings: Settings, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let circuit = circuit(settings);
    let mut model = Model {
        settings,
        state: ModelState::Closed(VecDeque::new(), VecDeque::new()),
        generation: 0,
        ids: 0,
        failed: 0,
        wait: 0,
        too_short: 0,
        would_have_refused: 0,
    };
    let mut running = Vec::new();
    let mut now = 0;
    for step in steps {
        match step {
            Step::Call(_, time_left) | Step::Start(time_left) => {
                let would_refuse = circuit.would_refuse(|| now);
                let (real, modelled) = (circuit.admit(|| now, || time_left), model.admit(time_left, now));
                // Only the call itself knows how much time it has left.
                let takes_turns = matches!(real, Err(Refused { state: Recovering, .. }));
                if would_refuse.is_some() || time_left.is_none() && !takes_turns {
                    prop_assert_eq!(would_refuse.as_ref(), real.as_ref().err());
                }
                prop_assert_eq!(circuit.observer().would_have_refused.lock().unwrap().len(), model.would_have_refused);
                prop_assert_eq!(real.as_ref().err(), modelled.as_ref().err());
                match (real, modelled, step) {
                    (Ok(real), Ok(modelled), Step::Call(finished, _)) => {
                        circuit.record(real, finished, || now);
                        model.record(modelled, finished, now);
                    }
                    (Ok(real), Ok(modelled), _) => running.push((real, modelled)),
                    _ => {}
                }
            }
            Step::Supply => match (circuit.turn(now), model.supply(now)) {
                (Turn::Probe { admission, .. }, Some(modelled)) => running.push((admission, modelled)),
                (Turn::Probe { .. }, None) => return Err(TestCaseError::fail("the prober should wait")),
                (_, Some(_)) => return Err(TestCaseError::fail("the prober should make a call")),
                (Turn::After(_) | Turn::Idle, None) => {}
            },
            Step::Finish(which, finished) if !running.is_empty() => {
                let (real, modelled) = running.swap_remove(which % running.len());
                circuit.record(real, finished, || now);
                model.record(modelled, finished, now);
            }
            Step::Leak(which) if !running.is_empty() => drop(running.swap_remove(which % running.len())),
            Step::Head(which) if !running.is_empty() => {
                let which = which % running.len();
                let (real, modelled) = &mut running[which];
                circuit.head_is_good(real);
                model.head_is_good(modelled);
            }
            Step::Finish(..) | Step::Leak(_) | Step::Head(_) => {}
            Step::Pass(time) => now += time,
            Step::Isolate => {
                circuit.isolate();
                if model.observed_state() != Isolated {
                    model.enter(ModelState::Isolated);
                }
            }
            Step::Close => {
                circuit.close();
                if model.observed_state() != Closed {
                    model.close();
                }
            }
            Step::Reset => {
                circuit.reset();
                model.close();
            }
            Step::Reload(settings) => {
                circuit.observer().settings().set(&settings);
                circuit.reload(&settings);
                model.reload(settings);
            }
            Step::Switch(mode) => {
                circuit.set_mode(mode);
                model.switch(mode);
            }
        }
        prop_assert_eq!(circuit.state(), model.state());
        prop_assert_eq!(circuit.observed_state(), model.observed_state());
        prop_assert_eq!(circuit.counted(now), model.counted(now));
        prop_assert_eq!(circuit.generation(), model.generation);
        if let ModelState::Open { until } = model.state {
            let shown = (model.state() == Open).then(|| until.saturating_sub(now));
            prop_assert_eq!(circuit.remaining_wait(now), shown);
        }
    }
    Ok(())
}

proptest! {
    // 100,000 steps.
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn it_does_what_a_sequential_model_does(
        settings in settings(),
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        agree(settings, steps)?;
    }
}
