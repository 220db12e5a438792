//! What calls of the standard stack and of its guard allocate that succeed at once. One test, since the count is the process's.
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

/// What a call of a function allocates.
fn allocations_of_call<F: Future>(call: impl Fn() -> F) -> usize {
    let one = || {
        let region = Region::new(ALLOCATOR);
        let polled = pin!(call()).poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(polled.is_ready());
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

#[test]
fn a_call_that_succeeds_at_once_allocates_twice_at_most() {
    let layer = Standard::new(name!("prices"));
    assert_eq!(allocations(&layer, Body::empty), 1, "the request's head, for another attempt");
    assert_eq!(allocations(&layer, || Body::from("9.99")), 2, "and the permit in the body, which still has it");
    let without_retry = standard("prices").without_retry().build().unwrap();
    assert_eq!(allocations(&without_retry, Body::empty), 0);

    let guard = layer.guard();
    assert_eq!(allocations_of_call(|| guard.call(|| ready(Ok::<_, Infallible>(7)))), 0);
    assert_eq!(allocations_of_call(|| guard.call_once(|| ready(Ok::<_, Infallible>(7)))), 0);
    // What the function allocates is counted.
    assert_eq!(allocations_of_call(|| guard.call(|| ready(Ok::<_, Infallible>(Box::new(7))))), 1);
}
