//! `grpc-timeout`, both ways: what a client sets, what a server is told, and what that counts as.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use backstop::{
    CircuitBreakerLayer, CircuitState, DeadlineLayer, PropagateDeadlineLayer, RetryLayer, TimeoutLayer, name, time_left,
};
use backstop_tests::{
    greeter::{Echo, hello},
    grpc::GrpcServer,
};
use greeter::pb::{HelloRequest, greeter_client::GreeterClient, greeter_server::GreeterServer};
use tokio::time::Instant;
use tonic::{Code, body::Body, transport::Server};
use tower::{ServiceBuilder, layer::layer_fn, layer::util::Identity};

async fn serve(echo: &Echo) -> GrpcServer {
    let service = GreeterServer::new(echo.clone());
    GrpcServer::start(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming)).await
}

/// A server that notes the `grpc-timeout` of each call.
async fn notes_timeouts() -> (GrpcServer, Arc<Mutex<Vec<String>>>) {
    let noted = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&noted);
    let service = GreeterServer::with_interceptor(Echo::default(), move |call: tonic::Request<()>| {
        let timeout = call.metadata().get("grpc-timeout").map_or("none", |it| it.to_str().unwrap());
        notes.lock().unwrap().push(timeout.to_owned());
        Ok(call)
    });
    let server =
        GrpcServer::start(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming)).await;
    (server, noted)
}

fn within(limit: Duration, name: &str) -> tonic::Request<HelloRequest> {
    let mut request = tonic::Request::new(hello(name));
    request.set_timeout(limit);
    request
}

#[tokio::test]
async fn a_short_set_timeout_opens_no_circuit_and_is_not_repeated() {
    /// Ten calls to a service that hangs, through these layers around the rest of the stack.
    macro_rules! ten_calls {
        ($outer:expr) => {{
            let echo = Echo::default();
            let server = serve(&echo).await;
            let layer = CircuitBreakerLayer::builder("greeter").consecutive_failures(2).build().unwrap();
            let circuit = layer.handle();
            let stack = ServiceBuilder::new()
                .layer($outer)
                .layer(RetryLayer::builder("greeter").repeat_if(|_: &http::Request<Body>| true).build().unwrap())
                .layer(layer)
                .layer(TimeoutLayer::new(name!("greeter")))
                .layer(PropagateDeadlineLayer::new(name!("greeter")))
                .service(server.channel());
            let mut client = GreeterClient::new(stack);
            for _ in 0..10 {
                let ended = client.say_hello(within(Duration::from_millis(30), "hang")).await.unwrap_err();
                assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");
            }
            assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
            assert!(echo.names().len() <= 10, "{:?}", echo.names());
        }};
    }
    ten_calls!(Identity::new());
    ten_calls!(DeadlineLayer::new(name!("greeter")));
}

#[tokio::test]
async fn a_deadline_layer_in_a_client_makes_set_timeout_cover_all_attempts() {
    let echo = Echo::default();
    let server = serve(&echo).await;
    let stack = ServiceBuilder::new()
        .layer(DeadlineLayer::new(name!("client")))
        .layer(RetryLayer::builder("greeter").repeat_if(|_: &http::Request<Body>| true).build().unwrap())
        .layer(TimeoutLayer::builder("greeter").limit(Duration::from_millis(100)).build().unwrap())
        .layer(PropagateDeadlineLayer::new(name!("greeter")))
        .service(server.channel());
    let started = Instant::now();
    let limit = Duration::from_millis(150);
    let ended = GreeterClient::new(stack).say_hello(within(limit, "hang")).await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    // Without the layer: three attempts of 100 ms. The margin is for a busy machine.
    assert!(started.elapsed() < Duration::from_millis(280), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_limit_of_ours_around_a_channel_ends_with_deadline_exceeded_and_opens_the_circuit() {
    let server = serve(&Echo::default()).await;
    let layer = CircuitBreakerLayer::builder("greeter").consecutive_failures(2).build().unwrap();
    let circuit = layer.handle();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .layer(TimeoutLayer::builder("greeter").limit(Duration::from_millis(30)).build().unwrap())
        .layer(PropagateDeadlineLayer::new(name!("greeter")))
        .service(server.channel());
    let mut client = GreeterClient::new(stack);
    for _ in 0..2 {
        assert_eq!(client.say_hello(hello("hang")).await.unwrap_err().code(), Code::DeadlineExceeded);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test]
async fn a_service_sees_the_time_that_its_caller_waits() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let service = GreeterServer::with_interceptor(Echo::default(), move |call: tonic::Request<()>| {
        sees.lock().unwrap().push(time_left().unwrap());
        Ok(call)
    });
    let layer = DeadlineLayer::new(name!("edge"));
    let server =
        GrpcServer::start(|incoming| Server::builder().layer(layer).add_service(service).serve_with_incoming(incoming))
            .await;
    let mut client = GreeterClient::new(server.channel());
    client.say_hello(within(Duration::from_secs(5), "Ada")).await.unwrap();
    client.say_hello(hello("Grace")).await.unwrap();
    let seen = seen.lock().unwrap().clone();
    let about = |limit| Duration::from_secs(limit - 2)..=Duration::from_secs(limit);
    assert!(about(5).contains(&seen[0]) && about(15).contains(&seen[1]), "{seen:?}");
}

#[tokio::test]
async fn a_server_is_told_less_than_its_caller_has_left() {
    let (last, noted) = notes_timeouts().await;
    let upstream = ServiceBuilder::new().layer(PropagateDeadlineLayer::new(name!("last"))).service(last.channel());
    let layers = ServiceBuilder::new()
        .layer(DeadlineLayer::new(name!("edge")))
        // A proxy: passes each call on to the other server, and leaves the services of its own alone.
        .layer(layer_fn(move |_| upstream.clone()))
        .into_inner();
    let service = GreeterServer::new(Echo::default());
    let proxy = GrpcServer::start(|incoming| {
        Server::builder().layer(layers).add_service(service).serve_with_incoming(incoming)
    })
    .await;

    let mut client = GreeterClient::new(proxy.channel());
    client.say_hello(within(Duration::from_secs(5), "Ada")).await.unwrap();
    client.say_hello(hello("Grace")).await.unwrap();
    let noted = noted.lock().unwrap().clone();
    let micros: Vec<u64> = noted.iter().map(|it| it.strip_suffix('u').unwrap().parse().unwrap()).collect();
    let told = |limit: u64| limit - 2_000_000..=limit - 10_000;
    assert!(told(5_000_000).contains(&micros[0]), "{noted:?}");
    assert!(told(15_000_000).contains(&micros[1]), "the edge's own limit: {noted:?}");
}
