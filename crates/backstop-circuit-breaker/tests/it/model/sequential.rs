//! What a circuit breaker should do, one step after another, written for clarity alone.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use backstop_circuit_breaker::{CircuitState, OnDrop, Wait, Window};
use backstop_core::{Verdict, scope::EndedBy};

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
    Either(u32, f64),
}

type Results = VecDeque<(Duration, bool)>;

enum State {
    Closed(Results, Results),
    Open {
        until: Duration,
    },
    HalfOpen {
        leases: HashMap<u64, Lease>,
        successes: u32,
        /// When the wait ended, or a probe last had a result.
        last_result: Duration,
        /// For how many probes more there is room.
        extra: u32,
    },
    Isolated,
}

struct Lease {
    until: Duration,
    has_good_head: bool,
}

/// One call, as far as it has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    generation: u64,
    id: u64,
    is_probe: bool,
    pending_since: Option<Duration>,
    slow: Option<bool>,
    /// When its body was first pending.
    body_pending_first: Option<Duration>,
    /// Its lease knows that the head was good.
    lease_knows: bool,
    progress: Progress,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Head,
    Body,
    /// Counted as a success, and still going on.
    Counted,
    Over,
}

/// What a call counts as.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) verdict: Verdict,
    pub(crate) asked: Option<Duration>,
    /// Its caller left.
    pub(crate) abandoned: bool,
}

impl From<Verdict> for Counts {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, asked: None, abandoned: false }
    }
}

pub(crate) struct Model {
    settings: Settings,
    state: State,
    pub(crate) now: Duration,
    pub(crate) generation: u64,
    ids: u64,
    failed_recoveries: u32,
    /// The latest.
    wait: Duration,
}

impl Model {
    pub(crate) fn new(settings: Settings) -> Self {
        let (now, state) = (Duration::ZERO, State::Closed(Results::new(), Results::new()));
        Self { settings, state, now, generation: 0, ids: 0, failed_recoveries: 0, wait: now }
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
        if let State::Open { until } = self.state
            && until <= self.now
        {
            self.enter(State::HalfOpen { leases: HashMap::new(), successes: 0, last_result: until, extra: 0 });
        }
        match &mut self.state {
            State::Closed(..) => {}
            State::Open { until } => return Err((Open, Some(*until - self.now))),
            State::Isolated => return Err((Isolated, None)),
            State::HalfOpen { leases, successes, last_result, extra } => {
                let mut counted = 0;
                let expired = leases.extract_if(|_, lease| lease.until <= self.now);
                for (_, lease) in expired.filter(|(_, lease)| lease.has_good_head) {
                    counted += 1;
                    *last_result = (*last_result).max(lease.until);
                }
                *successes += counted;
                if counted > 0 && *successes >= self.settings.success_threshold {
                    self.close();
                    return self.admit();
                }
                if leases.len() == (self.settings.max_concurrent_probes + *extra) as usize {
                    return Err((HalfOpen, Some(SECOND)));
                }
                let until = self.now + self.settings.probe_lease;
                leases.insert(self.ids + 1, Lease { until, has_good_head: false });
            }
        }
        self.ids += 1;
        Ok(Call {
            generation: self.generation,
            id: self.ids,
            is_probe: matches!(self.state, State::HalfOpen { .. }),
            pending_since: None,
            slow: None,
            body_pending_first: None,
            lease_knows: false,
            progress: Progress::Head,
        })
    }

    pub(crate) fn is_pending(&self, call: &mut Call) {
        call.pending_since.get_or_insert(self.now);
    }

    /// It was a success, and a body follows.
    pub(crate) fn has_head(&mut self, call: &mut Call) {
        call.slow = Some(self.is_slow(call));
        call.pending_since = None;
        if call.is_probe && call.slow == Some(true) {
            self.ended(call, Verdict::Success.into());
            return;
        }
        call.progress = Progress::Body;
        if let State::HalfOpen { leases, .. } = &mut self.state
            && call.generation == self.generation
            && let Some(lease) = leases.get_mut(&call.id)
        {
            lease.has_good_head = true;
            call.lease_knows = true;
        }
    }

    pub(crate) fn body_is_pending(&mut self, call: &mut Call) {
        if call.progress == Progress::Over || call.pending_since.is_some() {
            return;
        }
        call.pending_since = Some(self.now);
        let first = *call.body_pending_first.get_or_insert(self.now);
        if call.progress == Progress::Body && self.now - first >= self.settings.probe_lease {
            self.ended(call, Verdict::Success.into());
            call.progress = Progress::Counted;
        }
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

    pub(crate) fn dropped(&mut self, call: &mut Call, ended_by: Option<EndedBy>) {
        let failed = match (ended_by, self.settings.on_drop) {
            (Some(ended_by), _) => ended_by == EndedBy::OurLimit,
            (None, OnDrop::FailureAfter(limit)) => self.pending_for(call).is_some_and(|time| time >= limit),
            (None, on_drop) => on_drop == OnDrop::Failure,
        };
        let verdict = match call.progress {
            _ if failed => Verdict::Failure,
            Progress::Head => Verdict::Neutral,
            _ => Verdict::Success,
        };
        self.ended(call, Counts { verdict, asked: None, abandoned: verdict == Verdict::Neutral });
    }

    pub(crate) fn ended(&mut self, call: &mut Call, Counts { verdict, asked, abandoned }: Counts) {
        let was_counted = call.progress == Progress::Counted;
        let slow = self.is_slow(call) && !was_counted;
        if std::mem::replace(&mut call.progress, Progress::Over) == Progress::Over
            || (was_counted && verdict != Verdict::Failure)
        {
            return;
        }
        if call.generation != self.generation {
            return;
        }
        let opens = match &mut self.state {
            State::Closed(..) if verdict == Verdict::Neutral => false,
            State::Closed(results, slow_calls) => {
                results.push_back((self.now, verdict == Verdict::Failure));
                slow_calls.push_back((self.now, slow));
                let run = results.iter().rev().take_while(|(_, failed)| *failed).count();
                let failed = verdict == Verdict::Failure;
                let too_many_failures = match self.settings.trip {
                    Trip::Consecutive(failures) => run == failures as usize,
                    Trip::Rate(share) => failed && self.trips(0, share),
                    Trip::Either(failures, share) => run == failures as usize || failed && self.trips(0, share),
                };
                too_many_failures || (slow && self.settings.slow.is_some_and(|(_, share)| self.trips(1, share)))
            }
            State::HalfOpen { leases, successes, last_result, extra } => {
                if !abandoned {
                    *last_result = self.now;
                } else if self.now >= *last_result + self.wait {
                    *extra += 1;
                }
                let was_out = leases.remove(&call.id).is_some();
                if verdict == Verdict::Success && call.lease_knows && !was_out {
                    return;
                }
                *successes += u32::from(verdict == Verdict::Success);
                let failed = verdict == Verdict::Failure || (verdict == Verdict::Success && slow);
                if !failed && verdict == Verdict::Success && *successes >= self.settings.success_threshold {
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
            self.wait = wait.max(asked);
            self.enter(State::Open { until: self.now + self.wait });
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
                    Trip::Rate(_) | Trip::Either(..) => (self.window(0).len(), hits(0)),
                };
                [calls, failures, if self.settings.slow.is_some() { hits(1) } else { 0 }, 0, 0]
            }
            State::HalfOpen { leases, successes, .. } => {
                let probes = leases.values().filter(|lease| lease.until > self.now).count();
                [0, 0, 0, probes, *successes as usize]
            }
            State::Open { .. } | State::Isolated => [0; 5],
        }
    }
}
