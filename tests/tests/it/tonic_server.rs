//! Each layer on a tonic server with generated services.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer,
    PropagateDeadlineLayer, Provider, RetryLayer, Standard, TimeoutLayer, name,
    timeout::{UntilBodyEnd, UntilFirstFrame},
};
use backstop_tests::grpc::{GrpcServer, Scripted, question};
use http::{HeaderMap, Request, StatusCode, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full};
use tonic::{
    Code, Status,
    body::Body,
    transport::{Channel, Server},
};
use tonic_health::{
    ServingStatus,
    pb::{health_check_response::ServingStatus as Said, health_client::HealthClient, health_server::HealthServer},
};
use tower::{ServiceBuilder, ServiceExt};

/// A server with these layers, as a user would write it.
macro_rules! serve {
    ($health:expr, $layers:expr) => {{
        let (health, layers) = (HealthServer::new($health.clone()), $layers);
        GrpcServer::start(|incoming| Server::builder().layer(layers).add_service(health).serve_with_incoming(incoming))
            .await
    }};
}

/// A healthy service's answers pass unchanged: a message, an application's error, and a stream.
async fn assert_all_passes(channel: Channel, health: &Scripted) {
    let mut client = HealthClient::new(channel);
    let answer = client.check(question("greeter")).await.unwrap();
    assert!(!answer.metadata().contains_key("x-data-freshness"));
    assert_eq!(answer.into_inner().status(), Said::Serving);
    assert_eq!(client.check(question("nobody")).await.unwrap_err().code(), Code::NotFound);

    let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::Serving);
    for (status, said) in [(ServingStatus::NotServing, Said::NotServing), (ServingStatus::Serving, Said::Serving)] {
        health.set_greeter(status).await;
        assert_eq!(watched.message().await.unwrap().unwrap().status(), said);
    }
    assert_eq!(health.asked(), ["greeter", "nobody", "greeter"]);
}

macro_rules! all_passes_through {
    ($($test:ident: $layers:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            let health = Scripted::new().await;
            let server = serve!(health, $layers);
            assert_all_passes(server.channel(), &health).await;
        }
    )* };
}

all_passes_through! {
    all_passes_through_a_circuit_breaker: CircuitBreakerLayer::new(name!("health"));
    all_passes_through_a_retry: RetryLayer::new(name!("health"));
    all_passes_through_a_bulkhead: BulkheadLayer::new(name!("health"));
    all_passes_through_a_timeout: TimeoutLayer::new(name!("health"));
    all_passes_through_a_timeout_of_the_body:
        TimeoutLayer::builder("health").limit(Duration::from_secs(60)).cover(UntilBodyEnd).build().unwrap();
    all_passes_through_a_timeout_of_the_first_frame:
        TimeoutLayer::builder("health").limit(Duration::from_secs(60)).cover(UntilFirstFrame).build().unwrap();
    all_passes_through_a_deadline_that_is_sent_on: ServiceBuilder::new()
        .layer(DeadlineLayer::new(name!("edge")))
        .layer(PropagateDeadlineLayer::new(name!("health")));
    all_passes_through_a_fallback: FallbackLayer::new(name!("health"), replica(&Scripted::new().await));
    all_passes_through_a_degradation_header: DegradationHeaderLayer::new();
    all_passes_through_the_whole_stack: ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(&Scripted::new().await)))
        .layer(Standard::new(name!("health")));
}

/// A chain that falls back on another health service.
fn replica(health: &Scripted) -> FallbackChain<Request<Body>, http::Response<Body>> {
    let replica = HealthServer::new(health.clone());
    FallbackChain::builder("health_chain")
        .provider(Provider::service(name!("replica"), replica).even_if_processed())
        .build()
        .unwrap()
}

fn unavailable() -> Status {
    Status::unavailable("down for repairs")
}

#[tokio::test]
async fn an_open_circuit_is_unavailable_to_clients_on_every_connection() {
    let health = Scripted::new().await;
    let layer = CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap();
    let circuit = layer.handle();
    let server = serve!(health, layer);

    health.refuse(2, &unavailable());
    for _ in 0..2 {
        let mut client = HealthClient::new(server.channel());
        assert_eq!(client.check(question("greeter")).await.unwrap_err().message(), "down for repairs");
    }
    assert!(circuit.remaining_wait().is_some());
    for _ in 0..3 {
        let mut client = HealthClient::new(server.channel());
        let refused = client.check(question("greeter")).await.unwrap_err();
        assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "circuit health is open"));
        assert_eq!(refused.metadata().get("grpc-retry-pushback-ms").unwrap(), "-1", "60 s is no wait for a client");
        let refused = client.watch(question("greeter")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "streams are refused as well");
    }
    assert_eq!(health.asked().len(), 2);
}

#[tokio::test]
async fn an_open_circuit_tells_clients_a_short_wait() {
    let health = Scripted::new().await;
    let wait = Duration::from_millis(900);
    let layer = CircuitBreakerLayer::builder("health").consecutive_failures(1).wait(wait).retry_after_jitter(0.0);
    let server = serve!(health, layer.build().unwrap());

    health.refuse(1, &unavailable());
    let mut client = HealthClient::new(server.channel());
    client.check(question("greeter")).await.unwrap_err();
    let refused = client.check(question("greeter")).await.unwrap_err();
    let pushback = refused.metadata().get("grpc-retry-pushback-ms").unwrap();
    let millis: u64 = pushback.to_str().unwrap().parse().unwrap();
    assert!((1..=900).contains(&millis), "{millis}");
}

#[tokio::test]
async fn a_rejection_is_trailers_only_to_grpc_and_a_503_to_the_rest() {
    let health = Scripted::new().await;
    let layer = CircuitBreakerLayer::new(name!("health"));
    layer.handle().isolate();
    let server = serve!(health, layer);

    let request = |content_type: &str| {
        Request::post("http://health/grpc.health.v1.Health/Check")
            .header(CONTENT_TYPE, content_type)
            .body(Body::new(Full::from(vec![0; 5])))
            .unwrap()
    };
    let answer = server.channel().oneshot(request("application/grpc+proto")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["grpc-status"], "14");
    assert_eq!(answer.headers()[CONTENT_TYPE], "application/grpc");
    let rest = answer.into_body().collect().await.unwrap();
    assert!(rest.trailers().is_none());
    assert!(rest.to_bytes().is_empty());

    let answer = server.channel().oneshot(request("application/json")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(!answer.headers().contains_key("grpc-status"));
}

#[tokio::test]
async fn a_call_that_takes_too_long_has_exceeded_its_deadline() {
    let health = Scripted::new().await;
    let server = serve!(health, TimeoutLayer::builder("health").limit(Duration::from_millis(50)).build().unwrap());

    health.hang();
    let ended = HealthClient::new(server.channel()).check(question("greeter")).await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::DeadlineExceeded, "health took too long"));
    assert!(!ended.metadata().contains_key("grpc-retry-pushback-ms"));
}

#[tokio::test]
async fn a_stream_outlives_the_timeout_of_its_beginning() {
    let health = Scripted::new().await;
    let server = serve!(health, TimeoutLayer::builder("health").limit(Duration::from_millis(200)).build().unwrap());

    let mut client = HealthClient::new(server.channel());
    let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
    watched.message().await.unwrap().unwrap();
    // By the time this call is ended, the stream is older than the limit.
    health.hang();
    client.check(question("greeter")).await.unwrap_err();
    health.set_greeter(ServingStatus::NotServing).await;
    assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::NotServing);
}

#[tokio::test]
async fn only_calls_that_are_said_to_be_safe_are_repeated() {
    let health = Scripted::new().await;
    let retry = || RetryLayer::builder("health").backoff_base(Duration::from_millis(1));
    let careful = serve!(health, retry().build().unwrap());
    let told = serve!(health, retry().repeat_if(|_: &Request<Body>| true).build().unwrap());

    health.refuse(1, &unavailable());
    HealthClient::new(careful.channel()).check(question("greeter")).await.unwrap_err();
    assert_eq!(health.asked(), ["greeter"], "every gRPC call is a POST");

    health.refuse(2, &unavailable());
    let answer = HealthClient::new(told.channel()).check(question("greeter")).await.unwrap();
    assert_eq!(answer.into_inner().status(), Said::Serving);
    assert_eq!(health.asked(), ["greeter"; 4], "each time the whole question");
}

#[tokio::test]
async fn a_fallback_answers_and_its_labels_arrive_as_metadata() {
    let (health, spare) = (Scripted::new().await, Scripted::new().await);
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(&spare)))
        .layer(Standard::new(name!("health")));
    let server = serve!(health, stack);
    let mut client = HealthClient::new(server.channel());
    let assert_labelled = |labels: HeaderMap| {
        assert_eq!(labels["x-fallback-source"], "replica");
        assert_eq!(labels["x-data-freshness"], "degraded");
        assert_eq!(labels["cache-control"], "no-store");
    };

    health.refuse(2, &unavailable());
    let answer = client.check(question("greeter")).await.unwrap();
    assert_labelled(answer.metadata().clone().into_headers());
    assert_eq!(answer.into_inner().status(), Said::Serving);

    let answer = client.watch(question("greeter")).await.unwrap();
    assert_labelled(answer.metadata().clone().into_headers());
    let mut watched = answer.into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::Serving);
    spare.set_greeter(ServingStatus::NotServing).await;
    assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::NotServing);
    assert_eq!((health.asked().len(), spare.asked().len()), (2, 2));
}
