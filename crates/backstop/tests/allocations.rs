//! What a call of the standard stack allocates that succeeds at once. One test, since the count is the process's.
#![cfg(all(
    feature = "axum",
    feature = "bulkhead",
    feature = "circuit-breaker",
    feature = "retry",
    feature = "timeout"
))]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use backstop::{Standard, name, standard};
use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What the stack adds to the response's own: the least of some, since the test's surroundings allocate, too.
fn allocations(layer: &Standard, body: fn() -> Body) -> usize {
    let mut service =
        layer.layer(service_fn(move |_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(body())))));
    let mut one = || {
        let mut request = Request::get("http://prices.example/espresso");
        for header in ["accept", "accept-language", "user-agent", "x-request-id", "traceparent"] {
            request = request.header(header, "some value");
        }
        let request = request.body(Body::empty()).unwrap();
        _ = service.poll_ready(&mut Context::from_waker(Waker::noop()));
        let own = Region::new(ALLOCATOR);
        drop(body());
        let own = own.change().allocations;
        let region = Region::new(ALLOCATOR);
        let polled = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(matches!(polled, Poll::Ready(Ok(_))));
        stats.allocations + stats.reallocations - own
    };
    (0..10).map(|_| one()).min().unwrap()
}

/// With the feature `metrics`, the bulkhead's gauge is named anew whenever it is set: twice a call, by two allocations.
const GAUGE: usize = if cfg!(feature = "metrics") { 2 } else { 0 };

#[test]
fn a_call_that_succeeds_at_once_allocates_twice_at_most() {
    let layer = standard(name!("prices"));
    assert_eq!(allocations(&layer, Body::empty), 1 + 2 * GAUGE, "the request's head, for another attempt");
    assert_eq!(allocations(&layer, || Body::from("9.99")), 2 + GAUGE, "and the permit in the body, which still has it");
    let without_retry = standard("prices").without_retry().build().unwrap();
    assert_eq!(allocations(&without_retry, Body::empty), 2 * GAUGE);
}
