//! What a circuit breaker should do, one step after another, written for clarity alone.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use backstop_circuit_breaker::{CircuitState, OnDrop, Wait, Window};
use backstop_core::{SetBy, Verdict};

use CircuitState::{Closed, HalfOpen, Isolated, Open};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) trip: Trip,
    pub(crate) slow: Option<(Duration, f64)>,
    pub(crate) window: Window,
    pub(crate) min_calls: u32,
    pub(crate) wait: Wait,
    pub(crate) respects: Option<Duration>,
    pub(crate) success_threshold: u32,
    pub(crate) max_concurrent_probes: u32,
    pub(crate) probe_lease: Duration,
    pub(crate) on_drop: OnDrop,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trip {
    Consecutive(u32),
    Rate(f64),
}

type Results = VecDeque<(Duration, bool)>;

enum State {
    Closed(Results, Results),
    Open { until: Duration },
    HalfOpen { leases: HashMap<u64, Duration>, successes: u32 },
    Isolated,
}

/// One call, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    generation: u64,
    id: u64,
    pending_since: Option<Duration>,
    slow: Option<bool>,
}

/// What a call counts as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) verdict: Verdict,
    pub(crate) asked: Option<Duration>,
}

impl From<Verdict> for Counts {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, asked: None }
    }
}

pub(crate) struct Model {
    settings: Settings,
    state: State,
    pub(crate) now: Duration,
    pub(crate) generation: u64,
    ids: u64,
    failed_recoveries: u32,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        let (now, state) = (Duration::ZERO, State::Closed(Results::new(), Results::new()));
        Self { settings, state, now, generation: 0, ids: 0, failed_recoveries: 0 }
    }

    fn enter(&mut self, state: State) {
        self.state = state;
        self.generation += 1;
    }

    pub(crate) fn close(&mut self) {
        self.failed_recoveries = 0;
        self.enter(State::Closed(Results::new(), Results::new()));
    }

    pub(crate) fn isolate(&mut self) {
        self.enter(State::Isolated);
    }

    /// A call, or what a refused one is told: the state, and the wait.
    pub(crate) fn admit(&mut self) -> Result<Call, (CircuitState, Option<Duration>)> {
        if matches!(self.state, State::Open { until } if until <= self.now) {
            self.enter(State::HalfOpen { leases: HashMap::new(), successes: 0 });
        }
        match &mut self.state {
            State::Closed(..) => {}
            State::Open { until } => return Err((Open, Some(*until - self.now))),
            State::Isolated => return Err((Isolated, None)),
            State::HalfOpen { leases, .. } => {
                leases.retain(|_, until| *until > self.now);
                if leases.len() == self.settings.max_concurrent_probes as usize {
                    return Err((HalfOpen, Some(SECOND)));
                }
                leases.insert(self.ids + 1, self.now + self.settings.probe_lease);
            }
        }
        self.ids += 1;
        Ok(Call { generation: self.generation, id: self.ids, pending_since: None, slow: None })
    }

    pub(crate) fn is_pending(&self, call: &mut Call) {
        call.pending_since.get_or_insert(self.now);
    }

    pub(crate) fn has_head(&self, call: &mut Call) {
        call.slow = Some(self.is_slow(call));
        call.pending_since = None;
    }

    pub(crate) fn has_got_on(&self, call: &mut Call) {
        call.pending_since = None;
    }

    fn pending_for(&self, call: &Call) -> Option<Duration> {
        call.pending_since.map(|since| self.now - since)
    }

    fn is_slow(&self, call: &Call) -> bool {
        let Some((threshold, _)) = self.settings.slow else {
            return false;
        };
        call.slow.unwrap_or_else(|| self.pending_for(call).is_some_and(|time| time >= threshold))
    }

    pub(crate) fn dropped(&mut self, call: &Call, ended_by: Option<SetBy>) {
        let failed = match (ended_by, self.settings.on_drop) {
            (Some(set_by), _) => set_by == SetBy::Us,
            (None, OnDrop::FailureAfter(limit)) => self.pending_for(call).is_some_and(|time| time >= limit),
            (None, on_drop) => on_drop == OnDrop::Failure,
        };
        self.ended(call, if failed { Verdict::Failure } else { Verdict::Neutral }.into());
    }

    pub(crate) fn ended(&mut self, call: &Call, Counts { verdict, asked }: Counts) {
        let slow = self.is_slow(call);
        if call.generation != self.generation {
            return;
        }
        let opens = match &mut self.state {
            State::Closed(..) if verdict == Verdict::Neutral => false,
            State::Closed(results, slow_calls) => {
                results.push_back((self.now, verdict == Verdict::Failure));
                slow_calls.push_back((self.now, slow));
                let too_many_failures = match self.settings.trip {
                    Trip::Consecutive(failures) => {
                        results.iter().rev().take_while(|(_, failed)| *failed).count() == failures as usize
                    }
                    Trip::Rate(share) => verdict == Verdict::Failure && self.trips(0, share),
                };
                too_many_failures || (slow && self.settings.slow.is_some_and(|(_, share)| self.trips(1, share)))
            }
            State::HalfOpen { leases, successes } => {
                leases.remove(&call.id);
                *successes += u32::from(verdict == Verdict::Success);
                let failed = verdict == Verdict::Failure || (verdict == Verdict::Success && slow);
                if !failed && *successes == self.settings.success_threshold {
                    return self.close();
                }
                self.failed_recoveries += u32::from(failed);
                failed
            }
            State::Open { .. } | State::Isolated => false,
        };
        if opens {
            let wait = match self.settings.wait {
                Wait::Growing { first, max } => (0..self.failed_recoveries).fold(first, |wait, _| (wait * 2).min(max)),
                Wait::Fixed(wait) => wait,
                _ => unreachable!(),
            };
            let asked = self.settings.respects.zip(asked).map_or(Duration::ZERO, |(at_most, asked)| asked.min(at_most));
            self.enter(State::Open { until: self.now + wait.max(asked) });
        }
    }

    /// What is in the window: of failures (0) or of slow calls (1).
    fn window(&self, which: usize) -> Vec<bool> {
        let State::Closed(results, slow_calls) = &self.state else {
            return Vec::new();
        };
        let results = [results, slow_calls][which];
        let skipped = match self.settings.window {
            Window::Calls(calls) => results.len().saturating_sub(calls as usize),
            Window::Time(time) => {
                let tick = |at: &Duration| at.as_nanos() / time.as_nanos().div_ceil(16);
                results.iter().take_while(|(at, _)| tick(&self.now) - tick(at) >= 16).count()
            }
            _ => unreachable!(),
        };
        results.iter().skip(skipped).map(|(_, hit)| *hit).collect()
    }

    fn trips(&self, which: usize, share: f64) -> bool {
        let window = self.window(which);
        let hits = window.iter().filter(|hit| **hit).count();
        window.len() >= self.settings.min_calls as usize && hits as f64 / window.len() as f64 >= share
    }

    pub(crate) fn state(&self) -> CircuitState {
        match self.state {
            State::Closed(..) => Closed,
            State::Open { .. } => Open,
            State::HalfOpen { .. } => HalfOpen,
            State::Isolated => Isolated,
        }
    }

    pub(crate) fn remaining_wait(&self) -> Option<Duration> {
        match self.state {
            State::Open { until } => Some(until.saturating_sub(self.now)),
            _ => None,
        }
    }

    /// Calls, failures, slow calls, probes, successful probes.
    pub(crate) fn counts(&self) -> [usize; 5] {
        match &self.state {
            State::Closed(results, _) => {
                let hits = |which| self.window(which).iter().filter(|hit| **hit).count();
                let (calls, failures) = match self.settings.trip {
                    Trip::Consecutive(_) => {
                        let run = results.iter().rev().take_while(|(_, failed)| *failed).count();
                        (run, run)
                    }
                    Trip::Rate(_) => (self.window(0).len(), hits(0)),
                };
                [calls, failures, if self.settings.slow.is_some() { hits(1) } else { 0 }, 0, 0]
            }
            State::HalfOpen { leases, successes } => {
                let probes = leases.values().filter(|until| **until > self.now).count();
                [0, 0, 0, probes, *successes as usize]
            }
            State::Open { .. } | State::Isolated => [0; 5],
        }
    }
}
