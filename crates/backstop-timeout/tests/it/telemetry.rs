//! What an operator sees.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{convert::Infallible, time::Duration};

use backstop_test::Logs;
use backstop_timeout::{DeadlineHeader, DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer};
use http::{Request, Response, Version};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::Level;

const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";

fn quick() -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> + Clone {
    service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) })
}

fn hung() -> impl Service<Request<()>, Response = Response<()>, Error = Infallible> + Clone {
    service_fn(|_: Request<()>| std::future::pending::<Result<Response<()>, Infallible>>())
}

#[tokio::test(start_paused = true)]
async fn each_rejection_is_one_event_without_anything_of_the_request() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let limit = Duration::from_millis(100);
    let layer = TimeoutLayer::builder("upstream").limit(limit).build().unwrap();
    layer.layer(quick()).oneshot(Request::new(())).await.unwrap();
    layer.layer(hung()).oneshot(Request::get("/users/7").body(()).unwrap()).await.unwrap();

    let edge = DeadlineLayer::builder("edge").limit(limit).trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs);
    let edge = edge.build().unwrap();
    edge.layer(quick()).oneshot(Request::new(())).await.unwrap();
    let hurried = || Request::get("/users/7").header(ENVOY, "99").body(()).unwrap();
    edge.layer(hung()).oneshot(hurried()).await.unwrap();
    let propagate = PropagateDeadlineLayer::builder("sends").margin(limit).build().unwrap();
    edge.layer(propagate.layer(quick())).oneshot(hurried()).await.unwrap();

    let expected = [
        r#"DEBUG backstop::timeout: a call took too long name=upstream limit_ms=100.0 set_by="us" progress="called""#,
        r#"DEBUG backstop::timeout: a call took too long name=edge limit_ms=100.0 set_by="caller" progress="called""#,
        r#"DEBUG backstop::timeout: a call took too long name=sends set_by="caller" progress="not-asked""#,
    ];
    assert_eq!(logs.events().lines(), expected);
}

#[tokio::test(start_paused = true)]
async fn a_header_that_is_ignored_is_one_event_without_its_value() {
    let logs = Logs::up_to(Level::DEBUG);
    let _guard = logs.listen();
    let edge = DeadlineLayer::builder("edge").trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap();
    let request = |values: &[&str]| {
        let request = values.iter().fold(Request::get("/users/7"), |request, value| request.header(ENVOY, *value));
        request.header("grpc-timeout", "nobody reads this").body(()).unwrap()
    };
    edge.layer(quick()).oneshot(request(&["secret"])).await.unwrap();
    edge.layer(quick()).oneshot(request(&["17", "4711"])).await.unwrap();
    edge.layer(quick()).oneshot(request(&["17"])).await.unwrap();

    // A header that counts for two reasons is still one header.
    let edge = DeadlineLayer::builder("edge").trust(DeadlineHeader::GrpcTimeout).build().unwrap();
    let grpc = Request::post("/a.B/C").version(Version::HTTP_2).header("content-type", "application/grpc");
    edge.layer(quick()).oneshot(grpc.header("grpc-timeout", "secret").body(()).unwrap()).await.unwrap();

    let expected = [(ENVOY, "malformed"), (ENVOY, "contradictory"), ("grpc-timeout", "malformed")];
    let event = "DEBUG backstop::timeout: a caller's time limit was ignored name=edge";
    assert_eq!(
        logs.events().lines(),
        expected.map(|(header, why)| format!(r#"{event} header="{header}" reason="{why}""#))
    );
}
