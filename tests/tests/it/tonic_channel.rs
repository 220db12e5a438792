//! Each layer between a tonic `Channel` and a generated client.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backstop::{
    BulkheadLayer, CircuitBreakerLayer, CircuitState, DeadlineLayer, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, PropagateDeadlineLayer, Provider, RepeatIf, RetryBuilder, RetryLayer, Standard, TimeoutLayer,
    kit::{Http, HttpCopy, HttpReject},
    name,
    timeout::{UntilBodyEnd, UntilFirstFrame},
    vocabulary::HttpClassify,
};
use backstop_tests::grpc::{GrpcServer, Scripted, channel_to, question};
use http::{Request, Response};
use tokio::net::TcpSocket;
use tonic::{
    Code, Status,
    body::Body,
    metadata::MetadataMap,
    transport::{Channel, Server},
};
use tonic_health::{
    ServingStatus,
    pb::{health_check_response::ServingStatus as Said, health_client::HealthClient, health_server::HealthServer},
};
use tower::ServiceBuilder;

async fn serve(health: &Scripted) -> GrpcServer {
    let health = HealthServer::new(health.clone());
    GrpcServer::start(|incoming| Server::builder().add_service(health).serve_with_incoming(incoming)).await
}

fn unavailable() -> Status {
    Status::unavailable("down for repairs")
}

fn replica(channel: Channel) -> FallbackChain<Request<Body>, Response<Body>> {
    FallbackChain::builder("health_chain").provider(Provider::service(name!("replica"), channel)).build().unwrap()
}

/// A healthy service's answers pass unchanged: a message, an application's error, and a stream.
macro_rules! all_passes_through {
    ($($test:ident: $layers:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            let health = Scripted::new().await;
            let server = serve(&health).await;
            let mut client = HealthClient::new(ServiceBuilder::new().layer($layers).service(server.channel()));

            assert_eq!(client.check(question("greeter")).await.unwrap().into_inner().status(), Said::Serving);
            assert_eq!(client.check(question("nobody")).await.unwrap_err().code(), Code::NotFound);
            let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
            assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::Serving);
            health.set_greeter(ServingStatus::NotServing).await;
            assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::NotServing);
            assert_eq!(health.asked(), ["greeter", "nobody", "greeter"]);
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
    all_passes_through_a_fallback: FallbackLayer::new(name!("health"), replica(refused()));
    all_passes_through_a_degradation_header: DegradationHeaderLayer::new();
    all_passes_through_the_whole_stack: ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(refused())))
        .layer(Standard::new(name!("health")));
}

/// A bound port that refuses connections until the test listens on it. No other test can get it.
fn deaf_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    socket
}

/// A channel whose connection is refused.
fn refused() -> Channel {
    channel_to(deaf_port().local_addr().unwrap())
}

#[tokio::test]
async fn unavailable_opens_the_circuit() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let layer = CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap();
    let circuit = layer.handle();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(server.channel()));

    health.refuse(2, &unavailable());
    assert_eq!(client.check(question("greeter")).await.unwrap_err().message(), "down for repairs");
    assert_eq!(client.watch(question("greeter")).await.unwrap_err().message(), "down for repairs");
    assert_eq!(circuit.state(), CircuitState::Open);
    let refused = client.check(question("greeter")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "circuit health is open"));
    let refused = client.watch(question("greeter")).await.unwrap_err();
    assert_eq!((refused.code(), refused.message()), (Code::Unavailable, "circuit health is open"));
    assert_eq!(health.asked().len(), 2);
}

#[tokio::test]
async fn refused_connections_open_the_circuit() {
    let layer = CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap();
    let circuit = layer.handle();
    let port = deaf_port();
    let channel = channel_to(port.local_addr().unwrap());
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(channel));

    for _ in 0..2 {
        assert_eq!(client.check(question("greeter")).await.unwrap_err().code(), Code::Unavailable);
    }
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test]
async fn what_the_caller_did_wrong_does_not_open_the_circuit() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let layer = CircuitBreakerLayer::builder("health").consecutive_failures(2).build().unwrap();
    let circuit = layer.handle();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(server.channel()));

    for _ in 0..5 {
        assert_eq!(client.check(question("nobody")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(client.watch(question("nobody")).await.unwrap_err().code(), Code::NotFound);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
    assert_eq!(circuit.counts().failures, 0);
}

fn retry() -> RetryBuilder {
    RetryLayer::builder("health").backoff_base(Duration::from_millis(1))
}

type Always = fn(&Request<Body>) -> bool;

/// Every gRPC call is a POST, so the user has to say which may be repeated.
fn retry_all() -> RetryLayer<Http<HttpClassify, HttpReject, backstop::kit::UntilHeaders, RepeatIf<HttpCopy, Always>>> {
    retry().repeat_if((|_| true) as Always).build().unwrap()
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_though_every_call_is_a_post() {
    let health = Scripted::new().await;
    let port = Arc::new(Mutex::new(Some(deaf_port())));
    let address = port.lock().unwrap().as_ref().unwrap().local_addr().unwrap();
    let server = Arc::new(Mutex::new(None));
    let attempts = Arc::new(AtomicUsize::new(0));
    let counting = {
        let (health, server, attempts) = (health.clone(), Arc::clone(&server), Arc::clone(&attempts));
        move |request: Request<Body>| {
            // The server comes up before the third attempt.
            if attempts.fetch_add(1, Ordering::SeqCst) == 2 {
                let listener = port.lock().unwrap().take().unwrap().listen(16).unwrap();
                let health = HealthServer::new(health.clone());
                *server.lock().unwrap() = Some(GrpcServer::start_on(listener, |incoming| {
                    Server::builder().add_service(health).serve_with_incoming(incoming)
                }));
            }
            request
        }
    };
    let mut client = HealthClient::new(
        ServiceBuilder::new()
            .layer(retry().build().unwrap())
            .layer(tower::util::MapRequestLayer::new(counting))
            .service(backstop::client(channel_to(address))),
    );
    assert_eq!(client.check(question("greeter")).await.unwrap().into_inner().status(), Said::Serving);
    assert_eq!(attempts.load(Ordering::SeqCst), 3);
    assert_eq!(health.asked(), ["greeter"]);
}

#[tokio::test]
async fn a_call_that_may_have_been_processed_is_not_repeated_unasked() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let layer = retry().build().unwrap();
    let mut client = HealthClient::new(ServiceBuilder::new().layer(layer).service(server.channel()));

    health.refuse(1, &unavailable());
    assert_eq!(client.check(question("greeter")).await.unwrap_err().message(), "down for repairs");
    assert_eq!(health.asked().len(), 1);
}

#[tokio::test]
async fn a_repeated_call_sends_its_whole_message_again() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let mut client = HealthClient::new(ServiceBuilder::new().layer(retry_all()).service(server.channel()));

    let long = "greeter".repeat(7000);
    health.refuse(2, &unavailable());
    assert_eq!(client.check(question(&long)).await.unwrap_err().code(), Code::NotFound, "the third attempt's answer");
    assert!(health.asked() == [long.as_str(); 3]);

    health.refuse(2, &unavailable());
    let mut watched = client.watch(question("greeter")).await.unwrap().into_inner();
    assert_eq!(watched.message().await.unwrap().unwrap().status(), Said::Serving);
    assert_eq!(health.asked()[3..], ["greeter"; 3]);
}

#[tokio::test]
async fn a_repeated_call_tells_the_server_how_many_attempts_were_made_before() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let health = Scripted::new().await;
    let watched = HealthServer::with_interceptor(health.clone(), move |call: tonic::Request<()>| {
        let before = call.metadata().get_all("grpc-previous-rpc-attempts");
        sees.lock().unwrap().push(before.iter().map(|n| n.to_str().unwrap().to_owned()).collect::<Vec<_>>());
        Ok(call)
    });
    let serve = |incoming| Server::builder().add_service(watched).serve_with_incoming(incoming);
    let server = GrpcServer::start(serve).await;
    let mut client = HealthClient::new(ServiceBuilder::new().layer(retry_all()).service(server.channel()));

    health.refuse(2, &unavailable());
    assert_eq!(client.check(question("greeter")).await.unwrap().into_inner().status(), Said::Serving);
    assert_eq!(*seen.lock().unwrap(), [vec![], vec!["1".to_owned()], vec!["2".to_owned()]]);
}

#[tokio::test]
async fn the_last_refusal_arrives_as_it_was() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let mut client = HealthClient::new(ServiceBuilder::new().layer(retry_all()).service(server.channel()));

    let mut metadata = MetadataMap::new();
    metadata.insert("x-why", "repairs".parse().unwrap());
    health.refuse(3, &Status::with_details_and_metadata(Code::Unavailable, "down", "details".into(), metadata));
    let refused = client.check(question("greeter")).await.unwrap_err();
    assert_eq!((refused.message(), refused.details()), ("down", &b"details"[..]));
    assert_eq!(refused.metadata().get("x-why").unwrap(), "repairs");
    assert_eq!(health.asked().len(), 3);
}

#[tokio::test]
async fn an_exhausted_service_is_asked_again_only_if_it_says_when() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let mut client = HealthClient::new(ServiceBuilder::new().layer(retry_all()).service(server.channel()));

    health.refuse(1, &Status::resource_exhausted("busy"));
    assert_eq!(client.check(question("greeter")).await.unwrap_err().code(), Code::ResourceExhausted);
    assert_eq!(health.asked().len(), 1);

    for (pushback, asked) in [("1", 3), ("-1", 4)] {
        let mut metadata = MetadataMap::new();
        metadata.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        health.refuse(1, &Status::with_metadata(Code::ResourceExhausted, "busy", metadata));
        assert_eq!(client.check(question("greeter")).await.is_ok(), pushback == "1");
        assert_eq!(health.asked().len(), asked);
    }
}

#[tokio::test]
async fn a_call_that_takes_too_long_has_exceeded_its_deadline() {
    let health = Scripted::new().await;
    let server = serve(&health).await;
    let stack = ServiceBuilder::new()
        .layer(retry().build().unwrap())
        .layer(TimeoutLayer::builder("health").limit(Duration::from_millis(50)).build().unwrap());
    let mut client = HealthClient::new(stack.service(server.channel()));

    health.hang();
    let ended = client.check(question("greeter")).await.unwrap_err();
    assert_eq!((ended.code(), ended.message()), (Code::DeadlineExceeded, "health took too long"));
    assert_eq!(health.asked().len(), 1, "it may have been processed");
}

#[tokio::test]
async fn a_fallback_answers_and_is_labelled() {
    let spare = Scripted::new().await;
    let server = serve(&spare).await;
    let port = deaf_port();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("health"), replica(server.channel())))
        .layer(Standard::new(name!("health")));
    let mut client = HealthClient::new(stack.service(channel_to(port.local_addr().unwrap())));

    let answer = client.check(question("greeter")).await.unwrap();
    assert_eq!(answer.metadata().get("x-fallback-source").unwrap(), "replica");
    assert_eq!(answer.metadata().get("x-data-freshness").unwrap(), "degraded");
    assert_eq!(answer.into_inner().status(), Said::Serving);
    let answer = client.watch(question("greeter")).await.unwrap();
    assert_eq!(answer.metadata().get("x-fallback-source").unwrap(), "replica");
    assert_eq!(answer.into_inner().message().await.unwrap().unwrap().status(), Said::Serving);
    assert_eq!(spare.asked(), ["greeter"; 2]);
}
