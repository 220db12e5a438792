//! What the tests share.
#![allow(dead_code, reason = "not every test needs all of it")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use backstop_core::{Deadline, Reason, Scope};
use std::task::{Context, Waker};

use axum::body::Body;
use backstop_bulkhead::{BulkheadFuture, BulkheadLayer, Rejection, Until, UntilBodyEnd};
use backstop_kit::HttpReject;
use http::{Request, Response};
use tokio_test::task::{self, Spawn};
use tower::{Layer, Service};
use tower_test::mock::{self, Handle, Mock, SendResponse};

pub(crate) type Upstream = Mock<Request<Body>, Response<Body>>;
pub(crate) type Calls = Handle<Request<Body>, Response<Body>>;
pub(crate) type Call<U = UntilBodyEnd> = Spawn<BulkheadFuture<Upstream, Request<Body>, HttpReject, U>>;

/// A dependency whose calls the test answers.
pub(crate) fn upstream() -> (Upstream, Calls) {
    mock::pair()
}

/// A call of a service that was made ready, not polled yet.
pub(crate) fn call<U>(layer: &BulkheadLayer<HttpReject, U>, upstream: &Upstream) -> Call<U>
where
    U: Until<Response<Body>>,
{
    let mut service = layer.layer(upstream.clone());
    assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
    task::spawn(service.call(Request::new(Body::empty())))
}

/// A call of a service that wasn't asked whether it is ready, as if it hadn't been; not polled yet.
pub(crate) fn unready_call<U>(layer: &BulkheadLayer<HttpReject, U>, upstream: &Upstream) -> Call<U>
where
    U: Until<Response<Body>>,
{
    task::spawn(layer.layer(upstream.clone()).call(Request::new(Body::empty())))
}

/// The next call that has reached the dependency.
pub(crate) async fn reached(calls: &mut Calls) -> SendResponse<Response<Body>> {
    calls.next_request().await.unwrap().1
}

/// Whether no call has reached the dependency.
pub(crate) fn none_reached(calls: &mut Calls) -> bool {
    task::spawn(calls.next_request()).poll().is_pending()
}

pub(crate) fn rejection(response: &Response<Body>) -> Option<&Rejection> {
    response.extensions().get::<Rejection>()
}

pub(crate) fn is_full(response: &Response<Body>) -> bool {
    rejection(response).is_some_and(|rejection| rejection.reason() == Reason::BULKHEAD_FULL)
}

/// A layer with room for `running` calls and `waiting` more.
pub(crate) fn room_for(running: u32, waiting: u32) -> BulkheadLayer {
    BulkheadLayer::builder("ml_service").max_concurrent(running).max_waiting(waiting).build().unwrap()
}

/// Serves one request in a scope with this deadline.
pub(crate) async fn within<F: Future>(deadline: Deadline, call: F) -> F::Output {
    let mut scope = Scope::narrowed(deadline);
    let mut call = std::pin::pin!(call);
    std::future::poll_fn(|cx| scope.enter(|| call.as_mut().poll(cx))).await
}
