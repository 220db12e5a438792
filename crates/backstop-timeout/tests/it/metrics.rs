//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, future::pending, time::Duration};

use axum::body::Body;
use backstop_core::{
    Deadline, Scope, SetBy,
    scope::{self, InScope},
};
use backstop_test::Metrics;
use backstop_timeout::{DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer, UntilBodyEnd};
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Layer, Service, ServiceExt, service_fn};

use crate::scripted::{Act, Scripted};

fn hung() -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(|_: Request<Body>| pending::<Result<Response<Body>, Infallible>>())
}

fn quick(body: fn() -> Body) -> impl Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone {
    service_fn(move |_: Request<Body>| async move { Ok::<_, Infallible>(Response::new(body())) })
}

#[tokio::test(start_paused = true)]
async fn every_limit_that_passed_is_counted_by_the_layers_name_and_nothing_else_is() {
    let metrics = Metrics::new();
    let limit = Duration::from_millis(10);
    let request = || Request::new(Body::empty());

    let edge = DeadlineLayer::builder("edge").limit(limit).build().unwrap();
    let timeout = TimeoutLayer::builder("ml_service").limit(limit).build().unwrap();
    let covers = TimeoutLayer::builder("body").limit(limit).cover(UntilBodyEnd).build().unwrap();
    let propagate = PropagateDeadlineLayer::new(backstop_timeout::name!("sends")).layer(quick(Body::empty));
    // Installed when the layers are there already.
    let _guard = metrics.listen();
    edge.layer(quick(Body::empty)).oneshot(request()).await.unwrap();
    timeout.layer(quick(Body::empty)).oneshot(request()).await.unwrap();
    assert_eq!(metrics.lines(), Vec::<String>::new(), "calls that are in time");

    edge.layer(hung()).oneshot(request()).await.unwrap();
    edge.layer(hung()).oneshot(request()).await.unwrap();
    timeout.layer(hung()).oneshot(request()).await.unwrap();
    let response =
        covers.layer(quick(|| Scripted::new([Act::Data("1"), Act::Hang]).axum())).oneshot(request()).await.unwrap();
    assert!(response.into_body().collect().await.is_err());
    let mut late = Scope::narrowed(Deadline::after(limit, SetBy::Caller));
    let late = late.enter(scope::handle);
    propagate.oneshot(request()).in_scope(late).await.unwrap();

    let counted = |(name, n)| format!("deadline_exceeded_total{{name={name}}} {n}");
    assert_eq!(metrics.lines(), [("body", 1), ("edge", 2), ("ml_service", 1), ("sends", 1)].map(counted));
}
