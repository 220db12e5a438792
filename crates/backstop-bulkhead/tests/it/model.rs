//! Against a model that does one thing at a time: whatever calls come, answer, leave, are read, wait and expire, and
//! however the size changes meanwhile.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{collections::HashMap, task::Poll, time::Duration};

use crate::support::{self, Call, Calls, call, is_full, unready_call, upstream};
use axum::body::Body;
use backstop_bulkhead::BulkheadLayer;
use http::Response;
use http_body::Body as _;
use proptest::prelude::*;
use tokio::time::advance;
use tower_test::mock::SendResponse;

const MAX_WAIT: u64 = 50;
const MAX_HOLD: u64 = 80;

#[derive(Clone, Debug)]
enum Step {
    Come {
        is_ready: bool,
    },
    /// The dependency answers one of the calls that run, with a body or without.
    Answer {
        which: prop::sample::Index,
        with_body: bool,
    },
    /// Whoever asked for one of the calls has left, or has dropped its body.
    Drop {
        which: prop::sample::Index,
    },
    /// One of the bodies is read to its end.
    Read {
        which: prop::sample::Index,
    },
    Pass {
        ms: u64,
    },
    Resize {
        to: u32,
    },
    /// An operator looks.
    Look,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let which = any::<prop::sample::Index>;
    let step = prop_oneof![
        6 => any::<bool>().prop_map(|is_ready| Step::Come { is_ready }),
        4 => (which(), any::<bool>()).prop_map(|(which, with_body)| Step::Answer { which, with_body }),
        2 => which().prop_map(|which| Step::Drop { which }),
        2 => which().prop_map(|which| Step::Read { which }),
        3 => (1..40_u64).prop_map(|ms| Step::Pass { ms }),
        1 => (1..5_u32).prop_map(|to| Step::Resize { to }),
        1 => Just(Step::Look),
    ];
    prop::collection::vec(step, 1..80)
}

type Id = usize;

/// What should be. Times are in ms.
#[derive(Debug)]
struct Model {
    limit: usize,
    max_waiting: usize,
    now: u64,
    /// With the time at which their wait ends, in order.
    line: Vec<(Id, u64)>,
    running: Vec<Id>,
    /// With the time at which they expire.
    bodies: Vec<(Id, u64)>,
}

impl Model {
    fn in_use(&self) -> usize {
        self.running.len() + self.bodies.len()
    }

    fn fill(&mut self) {
        while self.in_use() < self.limit && !self.line.is_empty() {
            self.running.push(self.line.remove(0).0);
        }
    }

    /// Whether it is refused.
    fn come(&mut self, id: Id) -> bool {
        self.expire();
        if self.in_use() < self.limit {
            self.running.push(id);
        } else if self.line.len() < self.max_waiting {
            self.line.push((id, self.now + MAX_WAIT));
        } else {
            return true;
        }
        false
    }

    /// A permit whose time is up is back, whoever asks for it.
    fn expire(&mut self) {
        let now = self.now;
        self.bodies.retain(|(_, until)| *until > now);
        self.fill();
    }

    fn drop(&mut self, id: Id) {
        self.line.retain(|(waits, _)| *waits != id);
        self.running.retain(|runs| *runs != id);
        self.bodies.retain(|(held, _)| *held != id);
        self.fill();
    }

    /// One ms: who is refused because it has waited for too long.
    fn pass(&mut self) -> Vec<Id> {
        self.now += 1;
        self.expire();
        let now = self.now;
        self.line.extract_if(.., |(_, until)| *until <= now).map(|(id, _)| id).collect()
    }
}

/// What is.
struct World {
    layer: BulkheadLayer,
    calls: Calls,
    upstream: support::Upstream,
    futures: HashMap<Id, Call>,
    running: HashMap<Id, SendResponse<Response<Body>>>,
    bodies: HashMap<Id, Body>,
    refused: Vec<Id>,
}

impl World {
    fn new(limit: u32, max_waiting: u32) -> Self {
        let (upstream, calls) = upstream();
        let layer = BulkheadLayer::builder("ml_service")
            .max_concurrent(limit)
            .max_waiting(max_waiting)
            .max_hold(Duration::from_millis(MAX_HOLD));
        let layer = if max_waiting == 0 { layer } else { layer.max_wait(Duration::from_millis(MAX_WAIT)) };
        Self {
            layer: layer.build().unwrap(),
            calls,
            upstream,
            futures: HashMap::new(),
            running: HashMap::new(),
            bodies: HashMap::new(),
            refused: Vec::new(),
        }
    }

    fn come(&mut self, id: Id, is_ready: bool) {
        let make = if is_ready { call } else { unready_call };
        let call = make(&self.layer, &self.upstream);
        self.futures.insert(id, call);
        self.poll(id);
    }

    fn poll(&mut self, id: Id) {
        let Poll::Ready(response) = self.futures.get_mut(&id).unwrap().poll() else {
            if let Poll::Ready(Some((_, respond))) = self.calls.poll_request() {
                assert!(self.running.insert(id, respond).is_none(), "called twice");
            }
            return;
        };
        self.futures.remove(&id);
        let response = response.unwrap();
        if is_full(&response) {
            self.refused.push(id);
        } else {
            self.running.remove(&id);
            if !response.body().is_end_stream() {
                self.bodies.insert(id, response.into_body());
            }
        }
    }

    /// Polls whoever was woken, as an executor does.
    fn settle(&mut self) {
        loop {
            let mut woken: Vec<_> =
                self.futures.iter().filter(|(_, call)| call.is_woken()).map(|(id, _)| *id).collect();
            if woken.is_empty() {
                return;
            }
            woken.sort_unstable();
            woken.into_iter().for_each(|id| self.poll(id));
        }
    }

    fn answer(&mut self, id: Id, with_body: bool) {
        let body = if with_body { Body::from("text") } else { Body::empty() };
        self.running.remove(&id).unwrap().send_response(Response::new(body));
        self.poll(id);
    }

    fn drop(&mut self, id: Id) {
        self.futures.remove(&id);
        self.running.remove(&id);
        self.bodies.remove(&id);
    }
}

fn check(model: &Model, world: &World, step: &Step) {
    let sorted = |ids: Vec<Id>| {
        let mut ids = ids;
        ids.sort_unstable();
        ids
    };
    let running = sorted(world.running.keys().copied().collect());
    assert_eq!(running, sorted(model.running.clone()), "who runs, after {step:?}: {model:?}");
    assert_eq!(world.layer.handle().waiting(), model.line.len(), "who waits, after {step:?}: {model:?}");
}

async fn run(limit: u32, max_waiting: u32, steps: Vec<Step>) {
    let mut model = Model {
        limit: limit as usize,
        max_waiting: max_waiting as usize,
        now: 0,
        line: Vec::new(),
        running: Vec::new(),
        bodies: Vec::new(),
    };
    let mut world = World::new(limit, max_waiting);
    for (id, step) in steps.into_iter().enumerate() {
        match &step {
            Step::Come { is_ready } => {
                let refused = model.come(id);
                world.come(id, *is_ready);
                assert_eq!(world.refused.pop(), refused.then_some(id), "{model:?}");
            }
            Step::Answer { which, with_body } if !model.running.is_empty() => {
                let id = model.running[which.index(model.running.len())];
                model.running.retain(|runs| *runs != id);
                if *with_body {
                    model.bodies.push((id, model.now + MAX_HOLD));
                }
                model.fill();
                world.answer(id, *with_body);
            }
            Step::Drop { which } => {
                let mut all: Vec<_> = world.futures.keys().chain(world.bodies.keys()).copied().collect();
                all.sort_unstable();
                if !all.is_empty() {
                    let id = all[which.index(all.len())];
                    model.drop(id);
                    world.drop(id);
                }
            }
            Step::Read { which } => {
                let mut all: Vec<_> = world.bodies.keys().copied().collect();
                all.sort_unstable();
                if !all.is_empty() {
                    let id = all[which.index(all.len())];
                    let is_held = model.bodies.iter().any(|(held, until)| *held == id && *until > model.now);
                    let text = axum::body::to_bytes(world.bodies.remove(&id).unwrap(), 99).await;
                    assert_eq!(text.is_ok(), is_held, "{model:?}");
                    model.expire();
                    model.drop(id);
                }
            }
            Step::Pass { ms } => {
                for _ in 0..*ms {
                    advance(Duration::from_millis(1)).await;
                    world.settle();
                    let mut refused = std::mem::take(&mut world.refused);
                    refused.sort_unstable();
                    assert_eq!(refused, model.pass(), "{model:?}");
                }
            }
            Step::Resize { to } => {
                model.limit = *to as usize;
                model.fill();
                world.layer.handle().set_max_concurrent(*to).unwrap();
            }
            Step::Look => {
                model.expire();
                assert_eq!(world.layer.handle().in_use(), model.in_use(), "{model:?}");
            }
            Step::Answer { .. } => {}
        }
        world.settle();
        check(&model, &world, &step);
    }
    // Whatever has happened: when all have gone, all is free.
    world.futures.clear();
    world.bodies.clear();
    assert_eq!((world.layer.handle().in_use(), world.layer.handle().waiting()), (0, 0));
}

proptest! {
    #[test]
    fn it_does_what_the_model_does(limit in 1..4_u32, max_waiting in 0..4_u32, steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(run(limit, max_waiting, steps));
    }
}
