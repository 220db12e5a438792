//! A timeout that covers the body, and circuit breakers on both sides of it: a body that hangs is a failure, unless the
//! caller's deadline ended it.

#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, extract::Request, response::Response};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, Deadline, SetBy, TimeoutLayer,
    circuit_breaker::UntilBodyEnd as WatchedUntilBodyEnd,
    name,
    scope::{self, InScope, Scope},
    timeout::{UntilBodyEnd, UntilFirstFrame},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_millis(100);

/// A body that is always pending.
struct Hung;

impl hyper::body::Body for Hung {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }
}

fn hung() -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone {
    service_fn(|_: Request| async { Ok(Response::new(Body::new(Hung))) })
}

fn breaker() -> (
    CircuitBreakerLayer<backstop::kit::Http<backstop::HttpClassify, backstop::kit::HttpReject, WatchedUntilBodyEnd>>,
    CircuitBreakerHandle,
) {
    let breaker = CircuitBreakerLayer::builder(name!("upstream")).observe(WatchedUntilBodyEnd).build().unwrap();
    let circuit = breaker.handle();
    (breaker, circuit)
}

/// Sends one request inside a scope with this deadline, and reads the body until it ends or fails.
async fn ask<S>(service: S, deadline: Deadline)
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let scope = Scope::narrowed(deadline).enter(scope::handle);
    let response = service.oneshot(Request::new(Body::empty())).in_scope(scope).await.unwrap();
    _ = response.into_body().collect().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_hangs_counts_on_either_side_of_the_timeout_and_a_hurried_callers_on_neither() {
    let long = || Deadline::after(LIMIT * 10, SetBy::Caller);
    let short = || Deadline::after(LIMIT / 10, SetBy::Caller);
    let (outer, outer_circuit) = breaker();
    let (inner, inner_circuit) = breaker();
    let whole = TimeoutLayer::builder("upstream").limit(LIMIT).cover(UntilBodyEnd).build().unwrap();
    let first = TimeoutLayer::builder("upstream").limit(LIMIT).cover(UntilFirstFrame).build().unwrap();
    let whole = ServiceBuilder::new().layer(outer.clone()).layer(whole).layer(inner.clone()).service(hung());
    let first = ServiceBuilder::new().layer(outer).layer(first).layer(inner).service(hung());

    let failures = || (outer_circuit.counts().failures, inner_circuit.counts().failures);
    ask(whole.clone(), short()).await;
    ask(first.clone(), short()).await;
    assert_eq!(failures(), (0, 0), "the caller had no more time");
    ask(whole, long()).await;
    assert_eq!(failures(), (1, 1));
    ask(first, long()).await;
    assert_eq!(failures(), (2, 2));
}
