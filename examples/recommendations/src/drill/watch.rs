//! What the circuits do, and how many calls reach what is broken meanwhile.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backstop::CircuitBreakerHandle;
use backstop::circuit_breaker::CircuitState;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::phase::Phase;
use crate::server::Running;
use crate::upstream::{Simulated, Upstream};

/// The circuits whose upstreams the script breaks.
const WATCHED: [(&str, Upstream); 2] = [("ml_service", Upstream::Ml), ("popular_items", Upstream::Catalog)];

/// A call that was let through before its circuit opened has reached its upstream by then, or never will.
const ON_THEIR_WAY: Duration = Duration::from_millis(100);

/// Watches the circuits.
#[derive(Debug)]
pub(super) struct Watch {
    watched: Vec<Watched>,
    _tasks: JoinSet<()>,
}

#[derive(Debug)]
struct Watched {
    circuit: CircuitBreakerHandle,
    upstream: Simulated,
    seen: Arc<Mutex<One>>,
}

/// What one circuit did in this phase.
#[derive(Debug, Default, Clone, Copy)]
struct One {
    opened: Option<Instant>,
    /// How many calls had reached the upstream by then.
    calls: Option<u64>,
    probes: u64,
}

/// What the circuits of a phase did.
#[derive(Debug)]
pub(super) struct Seen {
    /// When the last one opened; `None` if one didn't.
    pub(super) opened: Option<Instant>,
    pub(super) calls_while_open: u64,
    pub(super) probes: u64,
}

impl Watch {
    pub(super) fn new(running: &Running) -> Self {
        let mut tasks = JoinSet::new();
        let watched = WATCHED.into_iter().filter_map(|(circuit, upstream)| {
            let circuit = running.circuits().named(circuit)?.clone();
            let upstream = running.chaos().simulated(upstream)?.clone();
            let seen = Arc::new(Mutex::new(One::default()));
            tasks.spawn(follow(circuit.clone(), upstream.clone(), Arc::clone(&seen)));
            Some(Watched { circuit, upstream, seen })
        });
        let watched = watched.collect();
        Self { watched, _tasks: tasks }
    }

    /// A phase begins.
    pub(super) fn forget(&self) {
        self.watched.iter().for_each(|watched| *lock(&watched.seen) = One::default());
    }

    fn broken<'a>(&'a self, phase: &'a Phase) -> impl Iterator<Item = &'a Watched> {
        self.watched.iter().filter(|watched| phase.breaks(watched.upstream.upstream()))
    }

    /// How many calls have reached what this phase breaks.
    pub(super) fn calls(&self, phase: &Phase) -> u64 {
        self.broken(phase).map(|watched| watched.upstream.requests()).sum()
    }

    pub(super) fn seen(&self, phase: &Phase) -> Seen {
        let mut all = Seen { opened: None, calls_while_open: 0, probes: 0 };
        let mut each_opened = true;
        for watched in self.broken(phase) {
            let one = *lock(&watched.seen);
            each_opened &= one.opened.is_some();
            all.opened = all.opened.max(one.opened);
            all.calls_while_open += one.calls.map_or(0, |calls| watched.upstream.requests() - calls);
            all.probes += one.probes;
        }
        Seen { opened: all.opened.filter(|_| each_opened), ..all }
    }

    /// Waits until the circuits of what this phase broke are closed.
    pub(super) async fn until_closed(&self, phase: &Phase) {
        for watched in self.broken(phase) {
            while watched.circuit.state() != CircuitState::Closed {
                sleep(Duration::from_millis(2)).await;
            }
        }
    }
}

async fn follow(circuit: CircuitBreakerHandle, upstream: Simulated, seen: Arc<Mutex<One>>) {
    let mut events = circuit.events();
    loop {
        match events.next().await.to {
            CircuitState::Open => {
                let is_first = {
                    let mut seen = lock(&seen);
                    let is_first = seen.opened.is_none();
                    seen.opened.get_or_insert_with(Instant::now);
                    is_first
                };
                if is_first {
                    sleep(ON_THEIR_WAY).await;
                    lock(&seen).calls = Some(upstream.requests());
                }
            }
            CircuitState::HalfOpen => lock(&seen).probes += 1,
            _ => {}
        }
    }
}

fn lock(seen: &Mutex<One>) -> MutexGuard<'_, One> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
