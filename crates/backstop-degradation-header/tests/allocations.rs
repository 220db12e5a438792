//! What a healthy answer allocates. One test, since the count is the process's.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_degradation_header::{DegradationHeaderLayer, PropagateDegradationLayer, Report, name};
use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// What one call allocates that is ready at once. The least of some, since the test's surroundings allocate, too.
fn allocations<S>(mut service: S) -> usize
where
    S: Service<Request<()>, Response = Response<()>, Error = Infallible>,
{
    let mut one = || {
        let request = Request::get("/items/7").header("accept", "*/*").body(()).unwrap();
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

fn healthy() -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> + Clone {
    service_fn(|_| async {
        // Room for one more, which `Report::Always` writes.
        Ok(Response::builder().header("cache-control", "max-age=60").body(()).unwrap())
    })
}

#[test]
fn a_healthy_answer_allocates_nothing() {
    let bare = allocations(healthy());
    assert!(bare > 0, "the count works");
    let every = || DegradationHeaderLayer::builder().expose_to_browsers().cache_status().proxy_status("gateway");
    assert_eq!(allocations(DegradationHeaderLayer::new().layer(healthy())), bare);
    assert_eq!(allocations(every().build().unwrap().layer(healthy())), bare);
    assert_eq!(allocations(PropagateDegradationLayer::new(name!("ml")).layer(healthy())), bare);
    let always = DegradationHeaderLayer::builder().report(Report::Always).build().unwrap();
    assert_eq!(allocations(always.layer(healthy())), bare);
}
