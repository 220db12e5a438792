//! What a request allocates whose first attempt is returned. One test, since the count is the process's.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::{Ready, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use axum::body::Body;
use backstop_retry::{Repeat, RetryBuilder, RetryLayer};
use http::{HeaderName, Method, Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service};
use tracing::{Event, Metadata, Subscriber, span};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const ATTEMPTS: HeaderName = HeaderName::from_static("x-attempts");

/// Answers at once, and allocates nothing.
#[derive(Clone)]
struct Healthy;

impl Service<Request<Body>> for Healthy {
    type Response = Response<()>;
    type Error = Infallible;
    type Future = Ready<Result<Response<()>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

fn get() -> Request<Body> {
    let names = ["host", "accept", "accept-encoding", "accept-language", "user-agent", "referer", "cookie"];
    let names = names.into_iter().chain(["x-request-id", "traceparent", "authorization"]);
    let request = Request::get("/items/7?limit=20");
    names.fold(request, |request, name| request.header(name, "a value of some length")).body(Body::empty()).unwrap()
}

fn with(change: impl Fn(&mut Request<Body>)) -> impl Fn() -> Request<Body> {
    move || {
        let mut request = get();
        change(&mut request);
        request
    }
}

/// Wants each event, and no span.
struct EventsOnly;

impl Subscriber for EventsOnly {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.is_event()
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        unreachable!("no span is wanted")
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// The least of some, since the test's surroundings allocate, too.
fn allocations(builder: RetryBuilder, request: impl Fn() -> Request<Body>) -> usize {
    let mut service = builder.discard_replaced().build().unwrap().layer(Healthy);
    let mut one = || {
        let request = request();
        let region = Region::new(ALLOCATOR);
        let polled = pin!(service.call(request)).poll(&mut Context::from_waker(Waker::noop()));
        let stats = region.change();
        assert!(matches!(polled, Poll::Ready(Ok(_))));
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| one()).min().unwrap()
}

#[test]
fn a_request_that_succeeds_at_once_allocates_two_at_most_and_one_that_is_not_repeated_nothing() {
    let retry = || RetryLayer::builder("ml");
    assert!((1..=2).contains(&allocations(retry(), get)), "what is kept of the request");
    let without_subscriber = allocations(retry(), get);
    tracing::subscriber::with_default(EventsOnly, || {
        assert_eq!(allocations(retry(), get), without_subscriber, "spans");
    });
    assert!(allocations(retry(), with(|post| *post.method_mut() = Method::POST)) <= 2, "it may prove unprocessed");

    assert_eq!(allocations(retry().max_attempts(1), get), 0);
    assert_eq!(allocations(retry(), with(|request| _ = request.extensions_mut().insert(Repeat::Never))), 0);
    assert_eq!(allocations(retry(), with(|connect| *connect.method_mut() = Method::CONNECT)), 0);
    let repeated = with(|request| _ = request.headers_mut().insert(ATTEMPTS, 1.into()));
    assert_eq!(allocations(retry().attempt_header(ATTEMPTS), repeated), 0, "by another tier");
}
