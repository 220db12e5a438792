//! Nothing goes on after the caller has gone, and who ended a call is known inside.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

mod common;

use std::{
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::response::Response;
use backstop_core::{SetBy, name, scope};
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use common::*;
use tokio::time::timeout;
use tower::{Layer, ServiceExt, service_fn};

/// Notes, when it is dropped, whose time limit dropped it.
#[derive(Clone, Default)]
struct Ends(Arc<Mutex<Vec<Option<SetBy>>>>);

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

    fn seen(&self) -> Vec<Option<SetBy>> {
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
    assert_eq!(ends.seen(), [Some(SetBy::Us), Some(SetBy::Us)]);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_leaves_ends_what_is_running() {
    for (patience, expected) in [(100, vec![None]), (500, vec![Some(SetBy::Us), None])] {
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
    assert_eq!(ends.seen(), [Some(SetBy::Caller), Some(SetBy::Caller)]);
}
