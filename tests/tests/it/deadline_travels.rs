//! A deadline is sent from server to server, and shrinks.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::{Router, body::Body, extract::Request, response::Response};
use backstop::{DeadlineHeader, DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer, name, time_left};
use backstop_tests::{
    grpc::channel_to,
    http::{Server, client, get},
};
use http::{HeaderMap, HeaderValue, Version, header::CONTENT_TYPE};
use tower::{ServiceBuilder, ServiceExt};

const ENVOY: &str = "x-envoy-expected-rq-timeout-ms";
const MARGIN: Duration = Duration::from_millis(10);
const TAKES: Duration = Duration::from_millis(25);

fn edge() -> DeadlineLayer {
    let limit = Duration::from_secs(10);
    DeadlineLayer::builder("edge").limit(limit).trust(DeadlineHeader::EnvoyExpectedRqTimeoutMs).build().unwrap()
}

fn write(headers: &mut HeaderMap, name: &'static str, time: Option<Duration>) {
    headers.insert(name, HeaderValue::try_from(time.unwrap().as_micros().to_string()).unwrap());
}

fn micros(headers: &HeaderMap, name: &str) -> Duration {
    Duration::from_micros(headers[name].to_str().unwrap().parse().unwrap())
}

fn grpc(timeout: &str) -> http::Request<tonic::body::Body> {
    let request = http::Request::post("http://first/a.B/C").version(Version::HTTP_2);
    let request = request.header(CONTENT_TYPE, "application/grpc").header("grpc-timeout", timeout);
    request.body(tonic::body::Body::empty()).unwrap()
}

/// The last server: returns the deadline headers that it got, and how much time it has.
async fn last() -> Server {
    let app = Router::new().fallback(|request: Request| async move {
        let mut response = Response::new(Body::empty());
        for header in ["grpc-timeout", ENVOY] {
            if let Some(value) = request.headers().get(header) {
                response.headers_mut().insert(header, value.clone());
            }
        }
        write(response.headers_mut(), "left-at-last", time_left());
        response
    });
    Server::start(app.layer(edge())).await
}

#[tokio::test]
async fn over_grpc_it_travels_from_server_to_channel_to_server() {
    let last = last().await;
    let stack = ServiceBuilder::new()
        .layer(TimeoutLayer::builder("last").limit(Duration::from_secs(8)).build().unwrap())
        .layer(PropagateDeadlineLayer::new(name!("last")))
        .service(channel_to(last.address()));
    let first = Router::new().fallback(move |request: Request| async move {
        tokio::time::sleep(TAKES).await;
        let left = time_left();
        let mut response = stack.oneshot(request.map(tonic::body::Body::new)).await.unwrap();
        write(response.headers_mut(), "left-at-first", left);
        response.map(Body::new)
    });
    let first = Server::start(first.layer(edge())).await;

    for (timeout, whole) in [("5S", Duration::from_secs(5)), ("800m", Duration::from_millis(800))] {
        let response = channel_to(first.address()).oneshot(grpc(timeout)).await.unwrap();
        let headers = response.headers();
        let at_first = micros(headers, "left-at-first");
        assert!(at_first <= whole - TAKES, "{at_first:?}");
        let sent =
            headers["grpc-timeout"].to_str().unwrap().strip_suffix('u').unwrap().parse().map(Duration::from_micros);
        let sent = sent.unwrap();
        assert!(sent <= at_first - MARGIN, "{sent:?} of {at_first:?}");
        let at_last = micros(headers, "left-at-last");
        assert!(at_last <= sent && at_last > whole / 2, "{at_last:?} of {sent:?}");
    }
}

#[tokio::test]
async fn over_http1_it_travels_in_the_header_that_both_were_told_of() {
    let last = last().await;
    let propagate = PropagateDeadlineLayer::builder("last").send(DeadlineHeader::EnvoyExpectedRqTimeoutMs);
    let stack = ServiceBuilder::new().layer(propagate.build().unwrap()).service(client(last.address()));
    let first = Router::new().fallback(move |request: Request| async move {
        tokio::time::sleep(TAKES).await;
        stack.oneshot(request).await.unwrap()
    });
    let first = Server::start(first.layer(edge())).await;

    let mut request = get("/");
    request.headers_mut().insert(ENVOY, HeaderValue::from_static("5000"));
    let (head, _) = first.send(request).await;
    let whole = Duration::from_secs(5);
    let sent = Duration::from_millis(head.headers[ENVOY].to_str().unwrap().parse().unwrap());
    assert!(sent <= whole - TAKES - MARGIN, "{sent:?}");
    let at_last = micros(&head.headers, "left-at-last");
    assert!(at_last <= sent && at_last > whole / 2, "{at_last:?} of {sent:?}");
}

/// The next service gives up first, so that its answer arrives before our own deadline.
#[tokio::test]
async fn the_next_service_gives_up_before_we_do() {
    let hangs = Router::new().fallback(std::future::pending::<()>).layer(edge());
    let last = Server::start(hangs).await;
    let stack = ServiceBuilder::new()
        .layer(PropagateDeadlineLayer::builder("last").margin(Duration::from_millis(500)).build().unwrap())
        .service(channel_to(last.address()));
    let first = Router::new().fallback(move |request: Request| async move {
        let response = stack.oneshot(request.map(tonic::body::Body::new)).await.unwrap();
        let left = time_left();
        let mut response = response.map(Body::new);
        write(response.headers_mut(), "left-at-first", left);
        response
    });
    let first = Server::start(first.layer(edge())).await;
    let response = channel_to(first.address()).oneshot(grpc("700m")).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "4");
    assert!(micros(response.headers(), "left-at-first") > Duration::ZERO);
}
