//! Callers with short deadlines: however many of their calls end early, that doesn't open a circuit.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::{Router, body::Body};
use backstop::{
    CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, DeadlineLayer, PropagateDeadlineLayer, TimeoutLayer, name,
};
use backstop_tests::{
    grpc::{GrpcServer, Scripted, channel_to, question},
    http::{Does, Server, Upstream, status},
};
use http::{HeaderValue, Request, Response, StatusCode, Version, header::CONTENT_TYPE};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::task::JoinSet;
use tonic::{Code, Status, transport::Channel};
use tonic_health::pb::{
    HealthCheckRequest, HealthCheckResponse,
    health_client::HealthClient,
    health_server::{Health, HealthServer},
};
use tower::{ServiceBuilder, ServiceExt};

const CALLS: usize = 50;

fn edge(limit: Duration) -> DeadlineLayer {
    DeadlineLayer::builder("edge").limit(limit).build().unwrap()
}

/// A client that sends `grpc-timeout` but doesn't apply it itself, unlike tonic's.
fn patient() -> Client<HttpConnector, Body> {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

fn grpc(server: &Server, timeout: Option<&str>) -> Request<Body> {
    let request = Request::post(format!("http://{}/a.B/C", server.address())).version(Version::HTTP_2);
    let request = request.header(CONTENT_TYPE, "application/grpc");
    timeout
        .into_iter()
        .fold(request, |request, timeout| request.header("grpc-timeout", timeout))
        .body(Body::empty())
        .unwrap()
}

async fn all(server: &Server, timeout: Option<&str>, calls: usize) -> Vec<Response<Incoming>> {
    let client = patient();
    let calls: JoinSet<_> = (0..calls).map(|_| client.request(grpc(server, timeout))).collect();
    calls.join_all().await.into_iter().map(Result::unwrap).collect()
}

/// A service that calls an upstream that hangs, under a circuit breaker and a timeout.
async fn front(limit: Duration, timeout: Duration) -> (Server, CircuitBreakerHandle, Upstream) {
    let upstream = Upstream::start(Does::Hang).await;
    let breaker = CircuitBreakerLayer::new(name!("upstream"));
    let circuit = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::builder("upstream").limit(timeout).build().unwrap())
        .layer(PropagateDeadlineLayer::builder("upstream").margin(Duration::ZERO).build().unwrap())
        .service(channel_to(upstream.address()));
    let proxy = Router::new().fallback(move |request: Request<Body>| async move {
        match stack.oneshot(request.map(tonic::body::Body::new)).await {
            Ok(response) => response.map(Body::new),
            Err(_) => status(StatusCode::BAD_GATEWAY),
        }
    });
    (Server::start(proxy.layer(edge(limit))).await, circuit, upstream)
}

#[tokio::test]
async fn fifty_calls_of_callers_in_a_hurry_leave_the_circuit_closed() {
    let long = Duration::from_secs(30);
    let (server, circuit, upstream) = front(long, long).await;
    for timeout in ["1n", "999u", "20m"] {
        for response in all(&server, Some(timeout), CALLS).await {
            assert_eq!(response.headers().get("grpc-status"), Some(&HeaderValue::from_static("4")), "{timeout}");
        }
        assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0), "{timeout}");
    }
    // They reached the upstream, and were ended there.
    assert!(upstream.calls() > 0);
}

#[tokio::test]
async fn a_few_calls_that_our_own_limit_ends_open_it() {
    let (long, short) = (Duration::from_secs(30), Duration::from_millis(200));
    // The edge's limit, then the timeout's. A longer deadline of the caller makes no difference.
    for (limit, timeout) in [(short, long), (long, short)] {
        for callers in [None, Some("5S")] {
            let (server, circuit, _upstream) = front(limit, timeout).await;
            all(&server, callers, 5).await;
            assert_eq!(circuit.state(), CircuitState::Open, "{limit:?}, {timeout:?}, {callers:?}");
        }
    }
}

/// A health service that calls another one.
struct Front<S>(S);

#[tonic::async_trait]
impl<S> Health for Front<S>
where
    S: tower::Service<Request<tonic::body::Body>, Response = Response<tonic::body::Body>, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static,
    S::Error: Into<tonic::codegen::StdError> + std::fmt::Debug,
{
    async fn check(
        &self,
        request: tonic::Request<HealthCheckRequest>,
    ) -> Result<tonic::Response<HealthCheckResponse>, Status> {
        HealthClient::new(self.0.clone()).check(request.into_inner()).await
    }

    type WatchStream = tonic::Streaming<HealthCheckResponse>;

    async fn watch(&self, _: tonic::Request<HealthCheckRequest>) -> Result<tonic::Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("nobody watches"))
    }
}

/// Tonic's `Channel` applies the `grpc-timeout` that we send for the caller, and gives up before our own deadline.
#[tokio::test]
async fn a_channel_that_gives_up_for_a_caller_in_a_hurry_leaves_the_circuit_closed() {
    let hung = Scripted::new().await;
    (0..CALLS * 2).for_each(|_| hung.hang());
    let back = HealthServer::new(hung.clone());
    let back = GrpcServer::start(|incoming| {
        tonic::transport::Server::builder().add_service(back).serve_with_incoming(incoming)
    })
    .await;

    let breaker = CircuitBreakerLayer::new(name!("back"));
    let circuit = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(breaker)
        .layer(TimeoutLayer::builder("back").limit(Duration::from_secs(30)).build().unwrap())
        .layer(PropagateDeadlineLayer::builder("back").margin(Duration::from_millis(30)).build().unwrap())
        .service(back.channel());
    let front = HealthServer::new(Front(stack));
    let front = GrpcServer::start(|incoming| {
        tonic::transport::Server::builder()
            .layer(edge(Duration::from_secs(30)))
            .add_service(front)
            .serve_with_incoming(incoming)
    })
    .await;

    let asks = |timeout: Duration, channel: Channel| async move {
        let mut request = tonic::Request::new(question("greeter"));
        request.set_timeout(timeout);
        HealthClient::new(channel).check(request).await.unwrap_err().code()
    };
    let calls: JoinSet<_> = (0..CALLS).map(|_| asks(Duration::from_secs(2), front.channel())).collect();
    for code in calls.join_all().await {
        assert!(matches!(code, Code::DeadlineExceeded | Code::Cancelled), "{code:?}");
    }
    assert!(!hung.asked().is_empty(), "the calls did come through");
    assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
}
