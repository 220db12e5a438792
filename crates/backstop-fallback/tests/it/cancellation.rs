//! Nothing goes on after the caller has gone, and who ended a call is known inside.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::{
    common::*,
    script::{
        self,
        Act::{self, Break, Data, Wait},
        Script,
    },
};
use axum::{body::Body, response::Response};
use backstop_core::{
    Degradation, SetBy, name,
    scope::{self, EndedBy},
};
use backstop_fallback::{Commit, FallbackChain, FallbackLayer, Provider};
use http::StatusCode;
use http_body_util::BodyExt;
use tokio::{
    sync::Semaphore,
    time::{advance, sleep, timeout},
};
use tower::{Layer, ServiceExt, limit::GlobalConcurrencyLimitLayer, service_fn};

/// Notes, when it is dropped, whose time limit dropped it.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Option<EndedBy>>>>);

struct Held(Ends);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().push(scope::ended_by());
    }
}

impl Ends {
    async fn hang<T>(self) -> T {
        let _held = Held(self);
        pending().await
    }

    fn seen(&self) -> Vec<Option<EndedBy>> {
        self.0.lock().unwrap().clone()
    }
}

fn stack(ends: &Ends) -> impl tower::Service<Req, Response = Response, Error = BoxError> + use<> {
    let provider_ends = ends.clone();
    let hangs = Provider::value(name!("hangs"), move || provider_ends.clone().hang::<Response>());
    let chain = FallbackChain::builder("chain").total(TOTAL).provider(hangs).build().unwrap();
    let ends = ends.clone();
    FallbackLayer::new(name!("primary"), chain)
        .layer(service_fn(move |_: Req| ends.clone().hang::<Result<Response, BoxError>>()))
}

#[tokio::test(start_paused = true)]
async fn calls_that_their_share_ends_are_dropped_by_us() {
    let ends = Ends::default();
    stack(&ends).oneshot(get()).await.unwrap();
    assert_eq!(ends.seen(), [Some(EndedBy::OurLimit), Some(EndedBy::OurLimit)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_ends_what_is_running() {
    for (patience, expected) in [(100, vec![None]), (500, vec![Some(EndedBy::OurLimit), None])] {
        let ends = Ends::default();
        timeout(Duration::from_millis(patience), stack(&ends).oneshot(get())).await.unwrap_err();
        assert_eq!(ends.seen(), expected, "after {patience} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn a_share_of_the_callers_shorter_time_is_the_callers() {
    use backstop_core::{Deadline, Scope};

    let ends = Ends::default();
    let mut scope = Scope::narrowed(Deadline::after(Duration::from_millis(10), SetBy::Caller));
    let mut call = std::pin::pin!(stack(&ends).oneshot(get()));
    std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await.unwrap();
    assert_eq!(ends.seen(), [Some(EndedBy::CallersLimit), Some(EndedBy::CallersLimit)]);
}

/// Counts what is alive.
#[derive(Clone, Default)]
struct Lives(Arc<()>);

impl Lives {
    fn count(&self) -> usize {
        Arc::strong_count(&self.0) - 1
    }

    fn body(&self, acts: &[Act]) -> Body {
        let life = self.clone();
        Body::new(Script::new(acts, &script::Ends::default()).map_frame(move |frame| {
            let _life = &life;
            frame
        }))
    }

    /// Waits a step, then answers.
    async fn answer(self, code: u16, acts: &[Act]) -> Response {
        sleep(STEP).await;
        let mut response = Response::new(self.body(acts));
        *response.status_mut() = StatusCode::from_u16(code).unwrap();
        response
    }
}

const STEP: Duration = Duration::from_millis(10);

/// Each part waits: readiness, call and body of the primary, then calls and bodies of two providers. What is alive while
/// the stack is at rest isn't counted.
struct Stage {
    lives: Lives,
    calls: Calls,
    layer: FallbackLayer<Req, Response>,
    /// What the primary answers.
    code: u16,
    acts: &'static [Act],
    /// Shared by all requests, as a connection is.
    readiness: Arc<Semaphore>,
}

impl Stage {
    fn new(code: u16, acts: &'static [Act]) -> Self {
        let (lives, calls) = (Lives::default(), Calls::default());
        let weak = Arc::downgrade(&lives.0);
        let alive = move || Lives(weak.upgrade().unwrap());
        let (alive_too, counted) = (alive.clone(), calls.clone());
        let one = Provider::from_fn(name!("one"), move |request: Req| {
            counted.add();
            let life = alive_too();
            async move {
                let _request = request;
                life.answer(200, &[Data("half"), Wait(10), Break]).await
            }
        });
        let two = Provider::value(name!("two"), move || alive().answer(200, &[Data("a"), Wait(10), Data("ll")]));
        let chain = FallbackChain::builder("chain")
            .commit_on(Commit::Complete { max_bytes: 100 })
            .provider(one.concurrency(1))
            .provider(two.concurrency(1))
            .build()
            .unwrap();
        let layer = FallbackLayer::new(name!("primary"), chain);
        Self { lives, calls, layer, code, acts, readiness: Arc::new(Semaphore::new(1)) }
    }

    fn call(&self, request: Req) -> impl Future<Output = Result<Response, BoxError>> + use<> {
        let (lives, code, acts) = (Arc::downgrade(&self.lives.0), self.code, self.acts);
        let primary = service_fn(move |request: Req| {
            let life = Lives(lives.upgrade().unwrap());
            async move {
                let _request = request;
                BoxedResponse::Ok(life.answer(code, acts).await)
            }
        });
        let primary = GlobalConcurrencyLimitLayer::with_semaphore(Arc::clone(&self.readiness)).layer(primary);
        self.layer.layer(primary).oneshot(request)
    }

    fn request(&self) -> Req {
        http::Request::put("/").body(self.lives.body(&[Data("request")])).unwrap()
    }
}

type BoxedResponse = Result<Response, BoxError>;

#[tokio::test(start_paused = true)]
async fn wherever_a_caller_leaves_nothing_stays_behind() {
    for (code, acts, forced, polls) in [
        (200, &[Data("half"), Wait(10), Break][..], false, 8),
        (503, &[Data("slow"), Wait(25), Data("er")], false, 7),
        (200, &[Data("half"), Wait(10), Break], true, 9),
    ] {
        let stage = Stage::new(code, acts);
        if forced {
            stage.layer.handle().force("one", 1.0).unwrap();
        }
        let request = || if forced { get() } else { stage.request() };
        let mut leaves_after = 0;
        loop {
            // The primary isn't ready for the first step.
            let busy = Arc::clone(&stage.readiness).acquire_owned().await.unwrap();
            let mut busy = Some(busy);
            let mut call = tokio_test::task::spawn(stage.call(request()));
            let answered = 'polls: {
                for _ in 0..leaves_after {
                    if call.poll().is_ready() {
                        break 'polls true;
                    }
                    advance(STEP).await;
                    busy = None;
                }
                false
            };
            drop((call, busy));
            assert_eq!(stage.lives.count(), 0, "after {leaves_after} polls of a primary's {code}");
            assert_eq!(stage.readiness.available_permits(), 1);

            // Whoever comes next finds room at each provider.
            let before = stage.calls.count();
            let next = stage.call(request()).await.unwrap();
            assert_eq!(next.extensions().get::<Degradation>().unwrap().source(), &name!("two"));
            assert_eq!(stage.calls.count() - before, if forced { 2 } else { 1 });
            drop(next);
            if answered {
                assert_eq!(leaves_after, polls);
                break;
            }
            leaves_after += 1;
        }
    }
}
