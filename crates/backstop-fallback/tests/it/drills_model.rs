//! Whatever callers, time and the service's state do, drills do what a simple model says.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use backstop_core::{Level, name, scope};
use backstop_fallback::{Drill, FallbackChain, FallbackLayer, Provider};
use backstop_test::{Scripted, Step};
use http::Request;
use proptest::prelude::*;
use tokio::{runtime::Builder, sync::watch, time::advance};
use tower::{Layer, ServiceExt};

use crate::{
    common::*,
    drills::{proven, settle, spawn},
};

const TICK: Duration = Duration::from_millis(100);
/// A half of the total, in ticks: the primary has the other one.
const SHARE: u64 = 4;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// So many ticks.
    Pass(u64),
    Call {
        is_safe: bool,
        primary_works: bool,
    },
    Level(bool),
    Circuit(bool),
    /// Whether the provider hangs from now on.
    Hang(bool),
    Drain,
}

fn steps() -> impl Strategy<Value = Vec<Act>> {
    let call = (prop::bool::weighted(0.8), prop::bool::weighted(0.95));
    let step = prop_oneof![
        6 => (1..25_u64).prop_map(Act::Pass),
        12 => call.prop_map(|(is_safe, primary_works)| Act::Call { is_safe, primary_works }),
        1 => prop::bool::weighted(0.7).prop_map(Act::Level),
        1 => prop::bool::weighted(0.7).prop_map(Act::Circuit),
        2 => any::<bool>().prop_map(Act::Hang),
        1 => prop::bool::weighted(0.1).prop_map(|drains| if drains { Act::Drain } else { Act::Pass(150) }),
    ];
    prop::collection::vec(step, 1..80)
}

/// What drills must do, in ticks.
#[derive(Debug, Default)]
struct Model {
    now: u64,
    every: u64,
    /// When the last one began.
    last: Option<u64>,
    /// When the one that hangs is given up.
    gives_up: Option<u64>,
    is_degraded: bool,
    is_ill: bool,
    is_open: bool,
    hangs: bool,
    is_drained: bool,
    drills: usize,
    dropped: usize,
    is_proven: bool,
}

impl Model {
    fn pass(&mut self, ticks: u64) {
        self.now += ticks;
        if self.gives_up.is_some_and(|at| self.now >= at) {
            self.end();
        }
    }

    fn end(&mut self) {
        self.dropped += usize::from(self.gives_up.take().is_some());
    }

    /// A request, before its primary has answered.
    fn call(&mut self, is_safe: bool) {
        if is_safe && !self.is_drained && self.last.is_none_or(|last| self.now >= last + self.every) {
            self.last = Some(self.now);
            if !(self.is_ill || self.is_open || self.is_degraded) {
                self.drills += 1;
                if self.hangs {
                    self.gives_up = Some(self.now + SHARE);
                } else {
                    self.is_proven = true;
                }
            }
        }
    }
}

async fn check(every: u64, steps: Vec<Act>) -> Result<(), TestCaseError> {
    let [ill, open, hangs] = [(); 3].map(|()| Arc::new(AtomicBool::new(false)));
    let (is_ill, is_open, does_hang) = (Arc::clone(&ill), Arc::clone(&open), Arc::clone(&hangs));
    // Live calls are answered at once, whatever drills do.
    let replica = Scripted::<Req, Response>::new(move |_, _| {
        let hangs = does_hang.load(SeqCst) && scope::is_shadow();
        async move { if hangs { pending().await } else { infallible(status(200)) } }
    });
    let replica = replica.recording(|_| scope::is_shadow());
    let chain = FallbackChain::builder("chain")
        .total(2 * SHARE as u32 * TICK)
        .provider(Provider::service(name!("replica"), replica.clone()))
        .build()
        .unwrap();
    let (drain, drains) = watch::channel(false);
    let drill = Drill::new(spawn, move || if is_ill.load(SeqCst) { Level::Degraded } else { Level::Healthy })
        .circuit("replica", move || !is_open.load(SeqCst))
        .every(every as u32 * TICK)
        .until(move || {
            let mut drains = drains.clone();
            async move { drains.wait_for(|drains| *drains).await.map(|_| ()) }
        });
    let layer: FallbackLayer<Req, Response> = FallbackLayer::new(name!("primary"), chain).with_drill(drill).unwrap();
    let mut model = Model { every, ..Model::default() };
    for step in steps {
        match step {
            Act::Pass(ticks) => {
                for _ in 0..ticks {
                    advance(TICK).await;
                    settle().await;
                    model.pass(1);
                }
            }
            Act::Call { is_safe, primary_works } => {
                // When an episode ends is tested elsewhere.
                model.is_degraded = layer.handle().status().episode.is_some();
                let method = if is_safe { "GET" } else { "POST" };
                let request = Request::builder().method(method).uri("/").body(Body::empty()).unwrap();
                let primary = if primary_works {
                    // The drill looks whether an episode runs before the primary's answer ends it.
                    Step::answer(status(200)).after(Duration::from_nanos(1))
                } else {
                    Step::answer(status(503))
                };
                let primary = Scripted::<Req, Response>::steps([primary]);
                let answer = layer.layer(primary).oneshot(request).await.unwrap();
                prop_assert_eq!(answer.status().as_u16(), if primary_works || is_safe { 200 } else { 503 });
                if primary_works {
                    model.call(is_safe);
                } else if is_safe {
                    // Its own failure comes before its drill.
                    if !model.is_drained && model.last.is_none_or(|last| model.now >= last + model.every) {
                        model.last = Some(model.now);
                    }
                    model.end();
                    model.is_proven = true;
                }
                settle().await;
            }
            Act::Level(is_well) => {
                model.is_ill = !is_well;
                ill.store(!is_well, SeqCst);
            }
            Act::Circuit(is_closed) => {
                model.is_open = !is_closed;
                open.store(!is_closed, SeqCst);
            }
            Act::Hang(it) => {
                model.hangs = it;
                hangs.store(it, SeqCst);
            }
            Act::Drain => {
                model.is_drained = true;
                drain.send(true).unwrap();
                settle().await;
                model.end();
            }
        }
        let drills = replica.requests().into_iter().filter(|is_drill| *is_drill).count();
        prop_assert_eq!(drills, model.drills, "{:?} {:?}", step, model);
        prop_assert_eq!(replica.dropped(), model.dropped, "{:?} {:?}", step, model);
        prop_assert_eq!(proven(&layer.handle())[0].is_some(), model.is_proven);
    }
    Ok(())
}

proptest! {
    #[test]
    fn drills_do_what_a_simple_model_says(every in 10..60_u64, steps in steps()) {
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(check(every, steps))?;
    }
}
