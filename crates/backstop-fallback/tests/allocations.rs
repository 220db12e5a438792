//! What a healthy request allocates. One test, since the count is the process's.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

#[path = "it/common.rs"]
mod common;

use std::{
    alloc::System,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::{body::Body, response::Response};
use backstop_core::name;
use backstop_fallback::{Commit, FallbackChain, FallbackLayer, Provider};
use common::*;
use http::{Request, request::Parts};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn request() -> Req {
    let headers = ["host", "accept", "accept-encoding", "accept-language", "user-agent", "referer", "cookie"];
    let headers = headers.into_iter().chain(["x-request-id", "traceparent", "authorization"]);
    let request =
        headers.fold(Request::get("/items/7"), |request, name| request.header(name, "a value of some length"));
    request.body(Body::empty()).unwrap()
}

/// What one call allocates that is ready at once. The least of some, since the test's surroundings allocate, too.
fn allocations<S>(mut service: S) -> usize
where
    S: Service<Req, Response = Response, Error = Infallible>,
{
    let mut one = || {
        let request = request();
        let region = Region::new(ALLOCATOR);
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        let mut future = pin!(service.call(request));
        let answer = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(matches!(answer, Poll::Ready(Ok(_))));
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

fn healthy() -> impl Service<Req, Response = Response, Error = Infallible> + Clone {
    service_fn(|_: Req| async { infallible(Response::new(Body::empty())) })
}

fn over_bare(layer: &FallbackLayer<Req, Response>) -> usize {
    allocations(layer.layer(healthy())) - allocations(healthy())
}

fn layer(provider: Provider<Req, Response>) -> FallbackLayer<Req, Response> {
    FallbackLayer::new(name!("primary"), FallbackChain::builder("chain").provider(provider).build().unwrap())
}

#[test]
fn a_healthy_request_allocates_only_what_its_providers_need() {
    let whole = Provider::from_fn(name!("whole"), |_: Req| async { status(200) });
    let head = Provider::head(name!("head"), |_: Parts| async { status(200) });
    let value = || says(name!("static"));
    // With the feature `metrics` every answer's time is recorded; what that costs is the recorder's.
    let recorded = if cfg!(feature = "metrics") { 1 } else { 0 };
    assert!(over_bare(&layer(value())) <= recorded);
    assert!(over_bare(&layer(value().concurrency(2).only_when(|_| true))) <= recorded);
    assert!(over_bare(&layer(head)) <= 2 + recorded);
    assert!(over_bare(&layer(whole)) <= 2 + recorded);

    let exercised = layer(value());
    exercised.handle().force("static", f64::MIN_POSITIVE).unwrap();
    assert!(over_bare(&exercised) <= recorded, "for those that aren't forced");

    let chain = FallbackChain::builder("chain").commit_on(Commit::FirstFrame).provider(value()).build().unwrap();
    let committing = over_bare(&FallbackLayer::new(name!("primary"), chain));
    assert!((1..=3).contains(&committing), "waiting for a body is paid for by those who ask for it: {committing}");
}
