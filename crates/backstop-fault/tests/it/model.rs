//! Whatever operators, time, the service's state and callers do, a layer does what a simple model says.

#![allow(clippy::panic, clippy::unwrap_used, reason = "the helpers of a test may fail it")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, AtomicU64, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use axum::body::Body;
use backstop_fault::{Ended, Fault, FaultConfig, FaultHandle, FaultLayer, Level, Refusal, RunId, name};
use http::{Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::{runtime::Builder, time::advance};
use tokio_test::task::{self, Spawn};
use tower::{Layer, ServiceExt};

use crate::support::{always, answering};

#[derive(Clone, Copy, Debug)]
enum Step {
    Start {
        hangs: bool,
        until: u64,
    },
    Stop,
    /// Of the run before the last one, or the last one.
    Heartbeat {
        is_last: bool,
    },
    Pass(u64),
    Level(u8),
    Drain(bool),
    Exhaust,
    /// With this cap, in percent.
    Reload {
        max_share: u8,
        max_held: u32,
    },
    Call {
        path: &'static str,
        method: &'static str,
    },
    /// Polls the held calls, and answers how many are made.
    Poll,
    DropOldest,
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let call = (prop::sample::select(vec!["/", "/api", "/health"]), prop::sample::select(vec!["GET", "POST"]));
    let step = prop_oneof![
        4 => (any::<bool>(), 1..200_u64).prop_map(|(hangs, until)| Step::Start { hangs, until }),
        1 => Just(Step::Stop),
        3 => any::<bool>().prop_map(|is_last| Step::Heartbeat { is_last }),
        4 => (1..70_u64).prop_map(Step::Pass),
        1 => (0..3_u8).prop_map(Step::Level),
        1 => prop::bool::weighted(0.2).prop_map(Step::Drain),
        1 => Just(Step::Exhaust),
        1 => (50..=100_u8, 1..=16_u32).prop_map(|(max_share, max_held)| Step::Reload { max_share, max_held }),
        8 => call.prop_map(|(path, method)| Step::Call { path, method }),
        2 => Just(Step::Poll),
        1 => Just(Step::DropOldest),
        2 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..60)
}

/// What a layer must do, in seconds.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    level: u8,
    drains: bool,
    exhausted: u64,
    max_share: u8,
    max_held: u32,
    runs: u64,
    run: Option<ModelRun>,
    last: Option<(u64, Ended)>,
    /// The runs that the held calls wait for.
    held: Vec<u64>,
    hits: u64,
    not_held: u64,
}

#[derive(Clone, Copy, Debug)]
struct ModelRun {
    id: u64,
    hangs: bool,
    ends: u64,
    beat: u64,
    exhausted: u64,
}

impl Model {
    fn end(&mut self, why: Ended) {
        if let Some(run) = self.run.take() {
            self.last = Some((run.id, why));
        }
    }

    /// Before anything else: ends the run if its time has come.
    fn expire(&mut self) {
        let Some(run) = self.run else { return };
        let due = run.beat + 60;
        if self.now >= run.ends.min(due) {
            self.end(if run.ends <= due { Ended::Until } else { Ended::NoHeartbeat });
        }
    }

    /// The same, and asks whether it may go on.
    fn refresh(&mut self) {
        self.expire();
        let Some(run) = self.run else { return };
        if self.drains {
            self.end(Ended::Draining);
        } else if self.level > 0 {
            self.end(Ended::Level(level(self.level)));
        } else if self.exhausted > run.exhausted {
            self.end(Ended::Condition(name!("recs")));
        }
    }

    fn start(&mut self, hangs: bool, until: u64) -> Result<u64, &'static str> {
        self.refresh();
        if self.max_share < 100 {
            return Err("share");
        }
        if self.run.is_some() {
            return Err("running");
        }
        if self.drains {
            return Err("draining");
        }
        if self.level > 0 {
            return Err("level");
        }
        self.runs += 1;
        let (ends, beat, exhausted) = (self.now + until, self.now, self.exhausted);
        self.run = Some(ModelRun { id: self.runs, hangs, ends, beat, exhausted });
        Ok(self.runs)
    }

    fn heartbeat(&mut self, id: u64) -> bool {
        self.refresh();
        let now = self.now;
        self.run.as_mut().filter(|run| run.id == id).map(|run| run.beat = now).is_some()
    }

    /// What becomes of a call: made, failed or held.
    fn call(&mut self, path: &str, method: &str) -> Outcome {
        self.expire();
        if path == "/health" || method != "GET" {
            return Outcome::Made;
        }
        self.refresh();
        let Some(run) = self.run else { return Outcome::Made };
        if !run.hangs {
            self.hits += 1;
            return Outcome::Failed;
        }
        if self.held.len() as u32 >= self.max_held {
            self.not_held += 1;
            return Outcome::Made;
        }
        self.hits += 1;
        self.held.push(run.id);
        Outcome::Held
    }

    /// Which of the held calls are made.
    fn poll(&mut self) -> Vec<bool> {
        if !self.held.is_empty() {
            self.refresh();
        }
        let running = self.run.map(|run| run.id);
        let made: Vec<_> = self.held.iter().map(|id| Some(*id) != running).collect();
        self.held.retain(|id| Some(*id) == running);
        made
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Made,
    Failed,
    Held,
}

fn level(of: u8) -> Level {
    [Level::Healthy, Level::Degraded, Level::Critical][usize::from(of)]
}

/// A layer, and what it follows.
struct Tested {
    layer: FaultLayer,
    handle: FaultHandle,
    level: Arc<AtomicU8>,
    drains: Arc<AtomicU8>,
    exhausted: Arc<AtomicU64>,
    ids: Vec<RunId>,
}

impl Tested {
    fn new() -> Self {
        let (levels, drains, exhausted) = (Arc::<AtomicU8>::default(), Arc::<AtomicU8>::default(), Arc::default());
        let layer = FaultLayer::builder("model")
            .arm()
            .max_share(1.0)
            .level({
                let levels = Arc::clone(&levels);
                move || level(levels.load(Relaxed))
            })
            .draining({
                let drains = Arc::clone(&drains);
                move || drains.load(Relaxed) > 0
            })
            .abort_when_grows(name!("recs"), {
                let exhausted: Arc<AtomicU64> = Arc::clone(&exhausted);
                move || exhausted.load(Relaxed)
            })
            .build()
            .unwrap();
        let handle = layer.handle();
        Self { layer, handle, level: levels, drains, exhausted, ids: Vec::new() }
    }

    fn start(&mut self, hangs: bool, until: u64) -> Result<u64, &'static str> {
        let fault = if hangs { Fault::Hang } else { Fault::status(StatusCode::BAD_GATEWAY) };
        match self.handle.start(always(fault).until(Duration::from_secs(until))) {
            Ok(id) => {
                self.ids.push(id);
                Ok(id.number())
            }
            Err(Refusal::Invalid(error)) => {
                assert_eq!(error.field, "share");
                Err("share")
            }
            Err(Refusal::Running(id)) => {
                assert_eq!(Some(&id), self.ids.last());
                Err("running")
            }
            Err(Refusal::Draining) => Err("draining"),
            Err(Refusal::Level(_)) => Err("level"),
            Err(other) => panic!("{other:?}"),
        }
    }

    fn call(&self, path: &str, method: &str) -> (Outcome, Call) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let mut call: Call = task::spawn(Box::pin(self.layer.layer(answering()).oneshot(request)));
        let outcome = match call.poll() {
            Poll::Pending => Outcome::Held,
            Poll::Ready(Ok(answer)) if answer.status() == StatusCode::OK => Outcome::Made,
            Poll::Ready(_) => Outcome::Failed,
        };
        (outcome, call)
    }
}

type Call = Spawn<Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>>>>>;

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut tested = Tested::new();
    let mut model = Model { max_share: 100, max_held: 16, ..Model::default() };
    let mut held: Vec<Call> = Vec::new();
    for step in steps {
        match step {
            Step::Start { hangs, until } => prop_assert_eq!(tested.start(hangs, until), model.start(hangs, until)),
            Step::Stop => {
                model.expire();
                let stopped = tested.handle.stop("ada", "seen enough").unwrap();
                prop_assert_eq!(stopped.map(RunId::number), model.run.map(|run| run.id));
                model.end(Ended::Stopped);
            }
            Step::Heartbeat { is_last } => {
                let Some(id) = tested.ids.iter().rev().nth(usize::from(!is_last)) else { continue };
                prop_assert_eq!(tested.handle.heartbeat(*id), model.heartbeat(id.number()));
            }
            Step::Pass(seconds) => {
                model.now += seconds;
                advance(Duration::from_secs(seconds)).await;
            }
            Step::Level(level) => {
                model.level = level;
                tested.level.store(level, Relaxed);
            }
            Step::Drain(drains) => {
                model.drains = drains;
                tested.drains.store(drains.into(), Relaxed);
            }
            Step::Exhaust => {
                model.exhausted += 1;
                tested.exhausted.store(model.exhausted, Relaxed);
            }
            Step::Reload { max_share, max_held } => {
                model.refresh();
                (model.max_share, model.max_held) = (max_share, max_held);
                if max_share < 100 {
                    model.end(Ended::Reloaded);
                }
                let mut config = FaultConfig::new("model");
                (config.armed, config.max_share, config.max_held) = (true, f64::from(max_share) / 100.0, max_held);
                tested.handle.reload(config).unwrap();
            }
            Step::Call { path, method } => {
                let (outcome, call) = tested.call(path, method);
                prop_assert_eq!(outcome, model.call(path, method));
                if outcome == Outcome::Held {
                    held.push(call);
                }
            }
            Step::Poll => {
                let made: Vec<_> = held.iter_mut().map(|call| call.poll().is_ready()).collect();
                prop_assert_eq!(&made, &model.poll());
                let mut made = made.into_iter();
                held.retain(|_| made.next() == Some(false));
            }
            Step::DropOldest if !held.is_empty() => {
                drop(held.remove(0));
                model.held.remove(0);
            }
            Step::DropOldest => {}
            Step::Look => {
                model.refresh();
                let status = tested.handle.status();
                prop_assert_eq!(status.run.as_ref().map(|run| run.id.number()), model.run.map(|run| run.id));
                let remaining = model.run.map(|run| Duration::from_secs(run.ends - model.now));
                prop_assert_eq!(status.run.map(|run| run.remaining), remaining);
                prop_assert_eq!(status.last.map(|last| (last.id.number(), last.why)), model.last.clone());
                prop_assert_eq!((status.held as usize, status.not_held), (model.held.len(), model.not_held));
                prop_assert_eq!(status.injected.iter().map(|(_, calls)| calls).sum::<u64>(), model.hits);
            }
        }
    }
    // Whatever was: a drop frees all places.
    drop(held);
    prop_assert_eq!(tested.handle.status().held, 0);
    Ok(())
}

proptest! {
    #[test]
    fn a_layer_does_what_a_simple_model_says(steps in steps()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(steps))?;
    }
}
