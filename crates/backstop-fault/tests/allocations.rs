//! What a call allocates while nothing is injected: nothing. One test, since the count is the process's.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use backstop_fault::{Fault, FaultLayer, FaultRun, name};
use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The least of some, since the test's surroundings allocate, too.
fn allocations<S>(service: &mut S) -> usize
where
    S: Service<Request<()>, Response = Response<Body>, Error = Infallible>,
{
    let mut one = || {
        let request = Request::new(());
        let region = Region::new(ALLOCATOR);
        let polled = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(matches!(polled, Poll::Ready(Ok(_))));
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

#[tokio::test]
async fn a_call_allocates_nothing_of_the_layers_before_a_run_and_after_it() {
    let bare = service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(Body::empty()))));
    let expected = allocations(&mut bare.clone());
    let armed = FaultLayer::builder("armed").arm().without_health().build().unwrap();
    for layer in [FaultLayer::new(name!("inert")), armed.clone()] {
        assert_eq!(allocations(&mut layer.layer(bare)), expected);
    }
    armed.handle().start(FaultRun::new(Fault::Error, 0.05, "ada", "a game day")).unwrap();
    armed.handle().stop("ada", "seen enough").unwrap();
    assert_eq!(allocations(&mut armed.layer(bare)), expected);
}
