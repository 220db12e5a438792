//! The runs of one layer, without a clock of its own.
//!
//! | from | on | to |
//! |---|---|---|
//! | idle | a run is started | running |
//! | running | its time has passed, 60 s have passed since the last heartbeat, or nothing may be injected any more | idle |
//! | running | it is stopped, or a reload allows less than its share | idle |
//!
//! While a run runs, at most `max_held` calls are held. Its end releases them: they are made then.

use std::{array, mem, sync::Arc, task::Waker, time::Duration};

use backstop_kit::Jitter;
use tokio::time::Instant;

use crate::{
    Ended, Fault, FaultKind, FaultRun, RunId,
    conditions::{Blocked, Counts},
    run::{DRAW_BITS, RequestView},
};

/// The most calls that a layer holds at once.
pub(crate) const MAX_HELD: u32 = 16;
/// How often calls that aren't hit, and each held call, ask whether the run may go on.
pub(crate) const ASK_EVERY: Duration = Duration::from_secs(1);
/// After so many calls, a run by principal is limited to the greatest share of them.
const CALLS_OF_PRINCIPALS: u64 = 100;
/// A run ends after this time without a heartbeat.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(60);

/// Apart from the seed of the decisions, so that a delay says nothing about the next decision.
const DELAYS: u64 = 0x5851_F42D_4C95_7F2D;

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) run: Option<Active>,
    pub(crate) last: Option<EndedRun>,
    next_id: u64,
    held: [Held; MAX_HELD as usize],
    /// Calls hit since the layer was built, by kind.
    pub(crate) hits: [u64; FaultKind::COUNT],
    /// Calls that would have been held, if there had been room.
    pub(crate) not_held: u64,
}

/// A run that runs.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: RunId,
    pub(crate) run: Arc<FaultRun>,
    pub(crate) seed: u64,
    pub(crate) began: Instant,
    pub(crate) ends: Instant,
    pub(crate) heartbeat_due: Instant,
    /// Calls that matched.
    pub(crate) calls: u64,
    pub(crate) hits: u64,
    pub(crate) counts: Counts,
    /// When a call was last to ask for the conditions.
    asked: Instant,
    decisions: Jitter,
    delays: Jitter,
}

/// A run that has ended.
#[derive(Clone, Debug)]
pub(crate) struct EndedRun {
    pub(crate) id: RunId,
    pub(crate) run: Arc<FaultRun>,
    pub(crate) why: Ended,
    pub(crate) calls: u64,
    pub(crate) hits: u64,
    pub(crate) duration: Duration,
}

/// A place for a held call.
#[derive(Debug)]
pub(crate) enum Held {
    Free,
    Taken { run: RunId, waker: Option<Waker> },
}

/// A call that is hit.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) run: Arc<FaultRun>,
    /// The place, and for how long, of a call that is held.
    pub(crate) held: Option<HeldPlace>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct HeldPlace {
    pub(crate) index: usize,
    /// `None` until the run ends.
    pub(crate) until: Option<Instant>,
}

/// A run has ended: to be logged, and its held calls to be woken, under no lock.
#[derive(Debug)]
#[must_use]
pub(crate) struct End {
    run: EndedRun,
    held: Vec<Waker>,
}

impl End {
    /// Wakes the held calls.
    pub(crate) fn wake(self) -> EndedRun {
        self.held.into_iter().for_each(Waker::wake);
        self.run
    }
}

impl Engine {
    pub(crate) fn new() -> Self {
        Self {
            run: None,
            last: None,
            next_id: 1,
            held: array::from_fn(|_| Held::Free),
            hits: [0; FaultKind::COUNT],
            not_held: 0,
        }
    }

    /// Ends the run if its time has come, or if it is the one that is blocked.
    pub(crate) fn refresh(&mut self, now: Instant, blocked: Option<(RunId, Blocked)>) -> Option<End> {
        let active = self.run.as_ref()?;
        // The earlier of the two, however late this comes.
        let (time, expired) = if active.ends <= active.heartbeat_due {
            (active.ends, Ended::Until)
        } else {
            (active.heartbeat_due, Ended::NoHeartbeat)
        };
        if now >= time {
            return self.end(time, expired);
        }
        let (_, blocked) = blocked.filter(|(id, _)| *id == active.id)?;
        let why = match blocked {
            Blocked::Level(level) => Ended::Level(level),
            Blocked::Draining => Ended::Draining,
            Blocked::Condition(name) => Ended::Condition(name),
            Blocked::Panicked => Ended::Panicked,
        };
        self.end(now, why)
    }

    pub(crate) fn end(&mut self, now: Instant, why: Ended) -> Option<End> {
        let Active { id, run, began, calls, hits, .. } = self.run.take()?;
        let run = EndedRun { id, run, why, calls, hits, duration: now.duration_since(began) };
        self.last = Some(run.clone());
        let held = self.held.iter_mut().filter_map(|held| match held {
            Held::Taken { waker, .. } => waker.take(),
            Held::Free => None,
        });
        Some(End { run, held: held.collect() })
    }

    /// Starts a run. None may run.
    pub(crate) fn start(&mut self, run: FaultRun, seed: u64, counts: Counts, now: Instant) -> RunId {
        let id = RunId(self.next_id);
        self.next_id += 1;
        self.run = Some(Active {
            id,
            seed,
            began: now,
            ends: now + run.until,
            heartbeat_due: now + HEARTBEAT,
            run: Arc::new(run),
            calls: 0,
            hits: 0,
            counts,
            asked: now,
            decisions: Jitter::new(Some(seed)),
            delays: Jitter::new(Some(seed ^ DELAYS)),
        });
        id
    }

    /// Whether this run runs, and so lives on.
    pub(crate) fn heartbeat(&mut self, id: RunId, now: Instant) -> bool {
        let active = self.run.as_mut().filter(|active| active.id == id);
        active.map(|active| active.heartbeat_due = now + HEARTBEAT).is_some()
    }

    /// Whether a call must ask for the conditions, although it isn't hit.
    pub(crate) fn is_ask_due(&mut self, now: Instant) -> bool {
        let active = self.run.as_mut().filter(|active| now >= active.asked + ASK_EVERY);
        active.map(|active| active.asked = now).is_some()
    }

    /// Draws whether a call is hit, and by which run.
    pub(crate) fn draw(&mut self, request: Option<&RequestView<'_>>, max_share: f64) -> Option<RunId> {
        let active = self.run.as_mut().filter(|active| active.run.matches(request))?;
        active.calls += 1;
        // A share of the principals may make more than that share of the calls.
        let is_too_much = active.calls > CALLS_OF_PRINCIPALS && active.hits as f64 >= max_share * active.calls as f64;
        if is_too_much && active.run.is_by_principal() {
            return None;
        }
        let draw = active.run.principal_draw(active.seed, request);
        let draw = draw.unwrap_or_else(|| active.decisions.number(0..1 << DRAW_BITS));
        ((draw as f64) < active.run.share * (1_u64 << DRAW_BITS) as f64).then_some(active.id)
    }

    /// Hits a call that this run has drawn. `None` if the run has ended meanwhile, or too many calls are held.
    pub(crate) fn hit(&mut self, id: RunId, max_held: u32, now: Instant) -> Option<Hit> {
        let taken = self.held();
        let active = self.run.as_mut().filter(|active| active.id == id)?;
        let run = Arc::clone(&active.run);
        let until = match &run.fault {
            Fault::Delay(range) => Some(now + active.delays.time(range.clone())),
            Fault::Hang => None,
            _ => return Some(Hit { run, held: None }),
        };
        if taken >= max_held {
            self.not_held += 1;
            return None;
        }
        let index = self.held.iter().position(|held| matches!(held, Held::Free))?;
        self.held[index] = Held::Taken { run: id, waker: None };
        self.apply(&run);
        Some(Hit { run, held: Some(HeldPlace { index, until }) })
    }

    /// Counts a call that fails now, or is held. Returns false if its run has ended.
    pub(crate) fn apply(&mut self, run: &Arc<FaultRun>) -> bool {
        let Some(active) = self.run.as_mut().filter(|active| Arc::ptr_eq(&active.run, run)) else { return false };
        active.hits += 1;
        self.hits[run.fault.kind() as usize] += 1;
        true
    }

    /// Until when the call in this place is held by its run. `None` if the run has ended. Leaves an earlier waker in the place of
    /// this one, to be dropped under no lock.
    pub(crate) fn poll_held(&mut self, index: usize, waker: &mut Option<Waker>) -> Option<Instant> {
        let active = self.run.as_ref()?;
        match &mut self.held[index] {
            Held::Taken { run, waker: stored } if *run == active.id => {
                mem::swap(stored, waker);
                Some(active.ends.min(active.heartbeat_due))
            }
            _ => None,
        }
    }

    /// Frees a place. What was in it is to be dropped under no lock.
    pub(crate) fn release(&mut self, index: usize) -> Held {
        mem::replace(&mut self.held[index], Held::Free)
    }

    pub(crate) fn held(&self) -> u32 {
        // At most 16.
        self.held.iter().filter(|held| matches!(held, Held::Taken { .. })).count() as u32
    }
}
