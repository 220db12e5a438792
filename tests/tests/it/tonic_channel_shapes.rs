//! Each layer around a tonic `Channel` where the compiler checks most: in a spawned task, and in an axum handler.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use axum::{Router, extract::State, routing::get};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, Rejection,
    RetryLayer, Standard, TimeoutLayer, name, opaque,
};
use backstop_tests::grpc::{GrpcServer, Scripted, question};
use http::{Request, Response};
use tokio::task::JoinSet;
use tonic::{
    Code,
    body::Body,
    transport::{Channel, Server},
};
use tonic_health::pb::{
    health_check_response::ServingStatus as Said, health_client::HealthClient, health_server::HealthServer,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

async fn serve(health: &Scripted) -> GrpcServer {
    let health = HealthServer::new(health.clone());
    GrpcServer::start(|incoming| Server::builder().add_service(health).serve_with_incoming(incoming)).await
}

fn replica(channel: Channel) -> FallbackChain<Request<Body>, Response<Body>> {
    FallbackChain::builder("health_chain").provider(Provider::service(name!("replica"), channel)).build().unwrap()
}

/// Sends a request through this stack where its future must be `Send`.
macro_rules! asks_anywhere {
    ($($test:ident: |$channel:ident| $stack:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            let health = Scripted::new().await;
            let server = serve(&health).await;
            let $channel = server.channel();
            let client = HealthClient::new($stack);

            let mut tasks = JoinSet::new();
            let mut spawned = client.clone();
            tasks.spawn(async move {
                assert_eq!(spawned.check(question("greeter")).await.unwrap().into_inner().status(), Said::Serving);
                let mut watched = spawned.watch(question("greeter")).await.unwrap().into_inner();
                watched.message().await.unwrap().unwrap().status()
            });
            assert_eq!(tasks.join_next().await.unwrap().unwrap(), Said::Serving);

            let ask = |State(mut client): State<HealthClient<_>>| async move {
                client.check(question("greeter")).await.unwrap().into_inner().status().as_str_name()
            };
            let app = Router::new().route("/", get(ask)).with_state(client);
            let answer = app.oneshot(Request::new(axum::body::Body::empty())).await.unwrap();
            let answer = axum::body::to_bytes(answer.into_body(), 100).await.unwrap();
            assert_eq!(answer, "SERVING");
            assert_eq!(health.asked(), ["greeter"; 3]);
        }
    )* };
}

asks_anywhere! {
    a_circuit_breaker: |channel| ServiceBuilder::new().layer(CircuitBreakerLayer::new(name!("health"))).service(channel);
    a_retry: |channel| ServiceBuilder::new().layer(RetryLayer::new(name!("health"))).service(channel);
    a_bulkhead: |channel| ServiceBuilder::new().layer(BulkheadLayer::new(name!("health"))).service(channel);
    a_timeout: |channel| ServiceBuilder::new().layer(TimeoutLayer::new(name!("health"))).service(channel);
    a_fallback: |channel| ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("health"), replica(channel.clone())))
        .service(channel);
    a_degradation_header: |channel| ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(channel);
    the_whole_stack: |channel| ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(channel.clone())))
        .layer(Standard::new(name!("health")))
        .service(channel);
    the_whole_stack_over_a_limit: |channel| ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(channel.clone())))
        .layer(Standard::new(name!("health")))
        .concurrency_limit(1)
        .service(channel);
    the_whole_stack_over_a_buffer: |channel| ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(channel.clone())))
        .layer(Standard::new(name!("health")))
        .buffer(4)
        .service(channel);
    a_stack_that_spells_box_error: |channel| spelling_box_error(channel);
    a_stack_that_spells_box_error_over_a_buffer: |channel| opaque(ServiceBuilder::new()
        .layer(RetryLayer::new(name!("health")))
        .layer(CircuitBreakerLayer::builder("health").reject_as_error().build().unwrap())
        .layer(TimeoutLayer::builder("health").reject_as_error().build().unwrap())
        .buffer(4)
        .service(channel));
}

/// With the bounds of tonic's generated clients, the compiler rejects a boxed error even without a layer of ours. `opaque`
/// doesn't help, because it is generic, but a function that isn't generic does. (Only this test needs it: keep a channel's own
/// error.)
fn spelling_box_error(
    channel: Channel,
) -> impl Service<Request<Body>, Response = Response<Body>, Error = BoxError, Future: Send> + Clone + Send + Sync + 'static
{
    ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(channel.clone())))
        .layer(RetryLayer::new(name!("health")))
        .layer(CircuitBreakerLayer::builder("health").reject_as_error().build().unwrap())
        .layer(TimeoutLayer::builder("health").reject_as_error().build().unwrap())
        .map_err(BoxError::from)
        .service(channel)
}

/// Without a generated client's bounds, `opaque` is enough.
#[tokio::test]
async fn a_sealed_stack_that_spells_box_error_without_a_client() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let layer = CircuitBreakerLayer::builder("health").reject_as_error().build().unwrap();
    layer.handle().isolate();
    let stack = opaque(ServiceBuilder::new().layer(layer).map_err(BoxError::from).service(server.channel()));
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { stack.oneshot(Request::new(Body::empty())).await.unwrap_err() });
    let error = tasks.join_next().await.unwrap().unwrap();
    assert_eq!(error.downcast::<Rejection>().unwrap().by().as_str(), "health");
}

/// A generated client turns an error that it doesn't know into `UNKNOWN`. The default rejection has a better code.
#[tokio::test]
async fn a_rejection_as_an_error_keeps_its_text() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let layer = CircuitBreakerLayer::builder("health").reject_as_error().build().unwrap();
    layer.handle().isolate();
    let stack = ServiceBuilder::new().layer(layer).map_err(BoxError::from).service(server.channel());
    let refused = HealthClient::new(stack).check(question("greeter")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unknown);
    assert!(refused.message().contains("circuit health"), "{}", refused.message());
    assert!(health.asked().is_empty());
}
