//! A bulkhead over real sockets: shared by all connections of a router, with clients that don't read, and around a tonic
//! `Channel`.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, http::StatusCode, routing::get};
use backstop::{BulkheadHandle, BulkheadLayer, Standard, name};
use backstop_tests::{
    grpc::{GrpcServer, Scripted, question},
    http::{Server, header},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::{sync::Notify, time::Instant};
use tonic::{Code, transport::Server as TonicServer};
use tonic_health::pb::{
    health_check_response::ServingStatus, health_client::HealthClient, health_server::HealthServer,
};
use tower::ServiceBuilder;

const HOLD: Duration = Duration::from_millis(300);

async fn until(handle: &BulkheadHandle, in_use: usize) {
    while handle.in_use() != in_use {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_router_has_one_bulkhead_for_all_routes_and_connections() {
    let layer = BulkheadLayer::builder("app").max_concurrent(1).max_waiting(0).build().unwrap();
    let handle = layer.handle();
    let go_on = Arc::new(Notify::new());
    let waits = Arc::clone(&go_on);
    let waits = move || async move {
        waits.notified().await;
        "well"
    };
    let app = Router::new().route("/slow", get(waits)).route("/quick", get(|| async { "quick" })).layer(layer);
    let server = Server::start(app).await;
    let (slow, ()) = tokio::join!(server.get("/slow"), async {
        until(&handle, 1).await;
        let (head, _) = server.get("/quick").await;
        assert_eq!((head.status, header(&head, "retry-after")), (StatusCode::SERVICE_UNAVAILABLE, Some("1")));
        go_on.notify_one();
    });
    assert_eq!((slow.0.status, slow.1.as_str()), (StatusCode::OK, "well"));
    until(&handle, 0).await;
    assert_eq!(server.get("/quick").await.0.status, StatusCode::OK);
}

/// A body of 64 MiB, larger than all socket buffers.
struct Large {
    chunks: u32,
}

impl hyper::body::Body for Large {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.chunks += 1;
        Poll::Ready((self.chunks <= 1024).then(|| Ok(Frame::data(Bytes::from_static(&[0; 64 * 1024])))))
    }
}

#[tokio::test]
async fn readers_that_do_not_read_lose_their_permits_to_those_who_wait() {
    let layer = BulkheadLayer::builder("app")
        .max_concurrent(2)
        .max_wait(Duration::from_secs(60))
        .max_hold(HOLD)
        .build()
        .unwrap();
    let handle = layer.handle();
    let app = Router::new()
        .route("/large", get(|| async { Body::new(Large { chunks: 0 }) }))
        .route("/small", get(|| async { "small" }))
        .layer(layer);
    let server = Server::start(app).await;
    let started = Instant::now();
    let mut unread = Vec::new();
    for _ in 0..2 {
        unread.push(server.open("/large").await);
    }
    assert_eq!(handle.in_use(), 2);
    let (head, body) = server.get("/small").await;
    assert_eq!((head.status, body.as_str()), (StatusCode::OK, "small"));
    assert!(started.elapsed() >= HOLD, "it had to wait for that");
    // A client that reads now sees that the answer is incomplete.
    for response in unread {
        assert!(response.into_body().collect().await.is_err());
    }
    until(&handle, 0).await;
}

#[tokio::test]
async fn in_an_edges_bracket_clients_that_do_not_read_keep_nobody_out() {
    let bracket = Standard::new(name!("upstream")).until_headers();
    let handle = bracket.handle().bulkhead().unwrap().clone();
    let app = Router::new()
        .route("/large", get(|| async { Body::new(Large { chunks: 0 }) }))
        .route("/small", get(|| async { "small" }))
        .layer(bracket);
    let server = Server::start(app).await;
    let mut unread = Vec::new();
    // One more call than may run at once.
    for _ in 0..=handle.max_concurrent() {
        let response = server.open("/large").await;
        assert_eq!(response.status(), StatusCode::OK);
        unread.push(response);
    }
    let (head, body) = server.get("/small").await;
    assert_eq!((head.status, body.as_str()), (StatusCode::OK, "small"));
    assert_eq!((handle.in_use(), unread.len()), (0, 101));
}

#[tokio::test]
async fn around_a_channel_a_stream_holds_its_permit_until_it_is_dropped() {
    let health = Scripted::new().await;
    let service = HealthServer::new(health.clone());
    let server =
        GrpcServer::start(|incoming| TonicServer::builder().add_service(service).serve_with_incoming(incoming)).await;
    let layer = BulkheadLayer::builder("health").max_concurrent(1).max_waiting(0).build().unwrap();
    let handle = layer.handle();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(server.channel()));

    let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let refused = client.check(question("greeter")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "bulkhead health is full"));
    assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "1000");
    drop(watched);
    assert_eq!(handle.in_use(), 0);
    for _ in 0..3 {
        assert_eq!(client.check(question("greeter")).await.unwrap().into_inner().status(), ServingStatus::Serving);
        assert_eq!(handle.in_use(), 0, "the trailers have come");
    }
    assert_eq!(health.asked(), ["greeter"; 4]);
}

#[tokio::test]
async fn a_stream_that_outlasts_its_permit_ends_with_a_status() {
    let health = Scripted::new().await;
    let service = HealthServer::new(health);
    let server =
        GrpcServer::start(|incoming| TonicServer::builder().add_service(service).serve_with_incoming(incoming)).await;
    let layer = BulkheadLayer::builder("health").max_hold(HOLD).build().unwrap();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(server.channel()));
    let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    let ended = watched.message().await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::DeadlineExceeded, "health took too long"));
}
