//! What a call allocates that is ready at once. One test, since the count is the process's.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use backstop_timeout::{
    DeadlineHeader, DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer, UntilBodyEnd, UntilFirstFrame, name,
};
use http::{Request, Response, Version};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[path = "it/scripted.rs"]
mod scripted;

use scripted::{Act, Scripted};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn request() -> Request<Body> {
    let request = Request::post("/a.B/C").version(Version::HTTP_2).header("content-type", "application/grpc");
    let request = request.header("grpc-timeout", "2500m").header("x-envoy-expected-rq-timeout-ms", "3000");
    request.body(Body::empty()).unwrap()
}

/// What one call allocates. The least of some, since the test's surroundings allocate, too.
fn allocations<S>(mut service: S) -> usize
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    let cx = &mut Context::from_waker(Waker::noop());
    let mut one = || {
        let request = request();
        let region = Region::new(ALLOCATOR);
        assert!(service.poll_ready(cx).is_ready());
        let mut future = pin!(service.call(request));
        let Poll::Ready(Ok(response)) = future.as_mut().poll(cx) else {
            panic!("not ready");
        };
        let stats = region.change();
        drop(response);
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

type Answer = Ready<Result<Response<Body>, Infallible>>;

fn answers(
    body: fn() -> Body,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future = Answer> + Clone {
    service_fn(move |_: Request<Body>| ready(Ok(Response::new(body()))))
}

#[tokio::test]
async fn nothing_but_for_a_body_that_is_covered() {
    let empty = || answers(Body::empty);
    let edge = DeadlineLayer::builder("edge").trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    assert_eq!(allocations(edge.layer(empty())), 0);
    assert_eq!(allocations(TimeoutLayer::new(name!("upstream")).layer(empty())), 0);
    assert_eq!(allocations(PropagateDeadlineLayer::new(name!("upstream")).layer(empty())), 0, "without a deadline");

    let first = TimeoutLayer::builder("upstream").cover(UntilFirstFrame).build().unwrap();
    let whole = TimeoutLayer::builder("upstream").cover(UntilBodyEnd).build().unwrap();
    assert_eq!(allocations(first.layer(empty())), 0);
    assert_eq!(allocations(whole.layer(empty())), 0);
    let full = || answers(|| Scripted::new([Act::Data("one")]).axum());
    let bare = allocations(full());
    assert_eq!(allocations(first.layer(full())) - bare, 1);
    assert_eq!(allocations(whole.layer(full())) - bare, 1);
}
