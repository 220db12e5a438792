//! What the tests share.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, future::ready};

use axum::body::Body;
use backstop_fault::{Fault, FaultBuilder, FaultHandle, FaultLayer, FaultRun};
use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

/// The body of an answer that isn't made to fail.
pub(crate) const ANSWER: &str = "well, and long enough";

/// A layer that may hit every call.
pub(crate) fn armed() -> FaultBuilder {
    FaultLayer::builder("edge").arm().max_share(1.0).without_health()
}

/// A run that hits every call.
pub(crate) fn always(fault: impl Into<Fault>) -> FaultRun {
    FaultRun::new(fault, 1.0, "ada", "a game day")
}

pub(crate) fn started(run: FaultRun) -> (FaultLayer, FaultHandle) {
    start(armed(), run)
}

/// The same, of a layer that also hits functions.
pub(crate) fn started_for_functions(run: FaultRun) -> (FaultLayer, FaultHandle) {
    start(armed().allow_unsafe_methods(), run)
}

fn start(builder: FaultBuilder, run: FaultRun) -> (FaultLayer, FaultHandle) {
    let layer = builder.build().unwrap();
    let handle = layer.handle();
    handle.start(run).unwrap();
    (layer, handle)
}

/// A service that answers at once.
pub(crate) fn answering()
-> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
    service_fn(|_: Request<Body>| ready(Ok(Response::new(Body::from(ANSWER)))))
}

/// The same, with an error that can be made.
pub(crate) fn fallible()
-> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone {
    answering().map_err(|never| match never {})
}

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

/// How a GET of `path` is answered.
pub(crate) async fn status(layer: &FaultLayer, path: &str) -> StatusCode {
    layer.layer(answering()).oneshot(get(path)).await.unwrap().status()
}

/// Whether a GET was made to fail, by a run of statuses or errors.
pub(crate) async fn is_hit(layer: &FaultLayer, request: Request<Body>) -> bool {
    layer.layer(answering()).oneshot(request).await.unwrap().status() != StatusCode::OK
}
