//! What counts as what in calls that stream, on a tonic server and around a `Channel`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backstop::{
    BulkheadBuilder, BulkheadLayer, CircuitBreakerBuilder, CircuitBreakerLayer, CircuitState, Commit,
    DegradationHeaderLayer, FallbackChain, FallbackLayer, PropagateDegradationLayer, Provider, RetryLayer,
    TimeoutLayer, UntilBodyEnd, kit::errors_as_trailers, name, timeout::UntilBodyEnd as CoverBody,
};
use backstop_tests::{
    greeter::{Echo, hello},
    grpc::GrpcServer,
};
use greeter::{
    pb::{greeter_client::GreeterClient, greeter_server::GreeterServer},
    server::Greetings,
};
use http::{Request, Response};
use tokio::sync::mpsc;
use tonic::{
    Code, Status,
    body::Body,
    codegen::tokio_stream::{self, wrappers::ReceiverStream},
    metadata::MetadataMap,
    service::InterceptorLayer,
    transport::Server,
};
use tower::{ServiceBuilder, util::MapResponseLayer};

/// Starts the service `$echo` on a server, and has `$test` call it twice: with the layers on the server, and around the
/// channel.
macro_rules! on_both_sides {
    ($echo:expr, $layers:expr, |$client:ident| $test:expr) => {{
        let (service, layers) = (GreeterServer::new($echo), $layers);
        let server = GrpcServer::start(|incoming| {
            Server::builder().layer(layers).add_service(service).serve_with_incoming(incoming)
        })
        .await;
        let mut $client = GreeterClient::new(server.channel());
        $test;
        let service = GreeterServer::new($echo);
        let server =
            GrpcServer::start(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming)).await;
        let mut $client = GreeterClient::new(ServiceBuilder::new().layer($layers).service(server.channel()));
        $test;
    }};
}

fn breaker() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("greeter").consecutive_failures(2)
}

#[tokio::test]
async fn until_the_body_ends_a_status_in_trailers_counts_and_a_stream_that_ended_well_is_a_success() {
    let layer = breaker().observe(UntilBodyEnd).build().unwrap();
    let circuit = layer.handle();
    on_both_sides!(Echo::default(), layer.clone(), |client| {
        let mut replies = client.greet_often(hello("Ada, fail")).await.unwrap().into_inner();
        replies.message().await.unwrap();
        replies.message().await.unwrap_err();
        assert_eq!(circuit.counts().failures, 1);

        let mut replies = client.greet_often(hello("Ada, Grace")).await.unwrap().into_inner();
        while replies.message().await.unwrap().is_some() {}
        assert_eq!(circuit.counts().failures, 0, "a success");

        client.say_hello(hello("fail")).await.unwrap_err();
        client.greet_all(tokio_stream::iter([hello("refuse")])).await.unwrap_err();
        assert_eq!(circuit.counts().failures, 0, "the caller's fault is a success of the service");

        let talk = tokio_stream::iter([hello("Ada"), hello("fail")]);
        let mut replies = client.chat(talk).await.unwrap().into_inner();
        replies.message().await.unwrap();
        replies.message().await.unwrap_err();
        client.greet_all(tokio_stream::iter([hello("fail")])).await.unwrap_err();
        assert_eq!(circuit.state(), CircuitState::Open);
        assert_eq!(client.greet_often(hello("Ada")).await.unwrap_err().code(), Code::Unavailable);
        circuit.reset();
    });
}

#[tokio::test]
async fn until_the_headers_a_stream_that_has_begun_is_a_success_however_it_ends() {
    let layer = breaker().build().unwrap();
    let circuit = layer.handle();
    on_both_sides!(Echo::default(), layer.clone(), |client| {
        for _ in 0..3 {
            let mut replies = client.greet_often(hello("Ada, fail")).await.unwrap().into_inner();
            replies.message().await.unwrap();
            replies.message().await.unwrap_err();
        }
        assert_eq!(circuit.state(), CircuitState::Closed);
    });
}

#[tokio::test]
async fn a_stream_that_has_begun_is_not_repeated() {
    let echo = Echo::default();
    let retry = || RetryLayer::builder("greeter").repeat_if(|_: &Request<Body>| true).build().unwrap();
    on_both_sides!(echo.clone(), retry(), |client| {
        let before = echo.names().len();
        let mut replies = client.greet_often(hello("Ada, fail")).await.unwrap().into_inner();
        replies.message().await.unwrap();
        assert_eq!(replies.message().await.unwrap_err().code(), Code::Unavailable);
        assert_eq!(echo.names()[before..], ["Ada", "fail"]);
    });
}

#[tokio::test]
async fn a_chain_that_waits_for_the_first_message_answers_for_a_stream_that_fails_before() {
    let fallback = || {
        let memory = Provider::service(name!("memory"), GreeterServer::new(Greetings { from: "memory" }));
        let chain: FallbackChain<Request<Body>, Response<Body>> = FallbackChain::builder("greeter")
            .repeat_if(|_: &Request<Body>| true)
            .commit_on(Commit::FirstFrame)
            .provider(memory)
            .build()
            .unwrap();
        ServiceBuilder::new().layer(DegradationHeaderLayer::new()).layer(FallbackLayer::new(name!("echo"), chain))
    };
    on_both_sides!(Echo::default(), fallback(), |client| {
        let replies = client.greet_often(hello("fail")).await.unwrap();
        assert_eq!(replies.metadata().get("x-fallback-source").unwrap(), "memory");
        assert_eq!(replies.into_inner().message().await.unwrap().unwrap().message, "Hello, fail! (from memory)");

        let replies = client.greet_often(hello("Ada, fail")).await.unwrap();
        assert!(!replies.metadata().contains_key("x-fallback-source"));
        let mut replies = replies.into_inner();
        replies.message().await.unwrap();
        assert_eq!(replies.message().await.unwrap_err().code(), Code::Unavailable, "too late for another answer");
    });
}

#[tokio::test]
async fn a_stream_holds_its_permit_to_its_end_or_to_its_head() {
    let one: fn() -> BulkheadBuilder = || BulkheadLayer::builder("greeter").max_concurrent(1).max_waiting(0);
    on_both_sides!(Echo::default(), one().build().unwrap(), |client| {
        let (say, said) = mpsc::channel(1);
        let mut replies = client.chat(ReceiverStream::new(said)).await.unwrap().into_inner();
        let refused = client.say_hello(hello("Ada")).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.message().contains("greeter"), "{refused}");
        drop(say);
        assert!(replies.message().await.unwrap().is_none());
        drop(replies);
        client.say_hello(hello("Ada")).await.unwrap();
    });
    on_both_sides!(Echo::default(), one().build().unwrap().until_headers(), |client| {
        let (_say, said) = mpsc::channel(1);
        let _replies = client.chat(ReceiverStream::new(said)).await.unwrap();
        client.say_hello(hello("Ada")).await.unwrap();
    });
}

#[tokio::test]
async fn a_limit_of_the_whole_call_ends_a_stream_with_deadline_exceeded() {
    let limit = Duration::from_millis(300);
    let layer = || {
        // Without it, a server resets the stream. A channel needs nothing.
        let trailers = MapResponseLayer::new(|response: Response<Body>| response.map(errors_as_trailers));
        let timeout = TimeoutLayer::builder("greeter").limit(limit).cover(CoverBody).build().unwrap();
        ServiceBuilder::new().layer(trailers).layer(timeout)
    };
    on_both_sides!(Echo::default(), layer(), |client| {
        let mut replies = client.greet_often(hello("Ada, hang")).await.unwrap().into_inner();
        assert_eq!(replies.message().await.unwrap().unwrap().message, "Ada");
        let ended = replies.message().await.unwrap_err();
        assert_eq!((ended.code(), ended.message()), (Code::DeadlineExceeded, "greeter took too long"));
    });
}

#[tokio::test]
async fn an_interceptor_that_refuses_inside_of_a_circuit_breaker_counts_and_one_outside_does_not() {
    let refused = Arc::new(AtomicUsize::new(0));
    let refuses = {
        let refused = Arc::clone(&refused);
        move |_: tonic::Request<()>| -> Result<tonic::Request<()>, Status> {
            refused.fetch_add(1, Ordering::SeqCst);
            Err(Status::unavailable("not now"))
        }
    };
    let (inside, outside) = (breaker().build().unwrap(), breaker().build().unwrap());
    let circuits = (inside.handle(), outside.handle());
    let service = GreeterServer::with_interceptor(Echo::default(), refuses.clone());
    let server = GrpcServer::start(|incoming| {
        Server::builder().layer(inside).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    for _ in 0..3 {
        assert_eq!(
            GreeterClient::new(server.channel()).say_hello(hello("Ada")).await.unwrap_err().code(),
            Code::Unavailable
        );
    }
    assert_eq!((circuits.0.state(), refused.load(Ordering::SeqCst)), (CircuitState::Open, 2));

    let layers =
        ServiceBuilder::new().layer(InterceptorLayer::new(refuses.clone())).layer(outside.clone()).into_inner();
    let service = GreeterServer::new(Echo::default());
    let server = GrpcServer::start(|incoming| {
        Server::builder().layer(layers).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    let stack = ServiceBuilder::new().layer(outside).service(server.channel());
    let mut client = GreeterClient::with_interceptor(stack, refuses);
    for _ in 0..3 {
        GreeterClient::new(server.channel()).say_hello(hello("Ada")).await.unwrap_err();
        client.say_hello(hello("Ada")).await.unwrap_err();
    }
    assert_eq!((circuits.1.state(), circuits.1.counts().failures), (CircuitState::Closed, 0));
    assert_eq!(refused.load(Ordering::SeqCst), 8);
}

#[tokio::test]
async fn a_servers_label_reaches_the_callers_caller_as_a_path() {
    let memory = Provider::service(name!("memory"), GreeterServer::new(Greetings { from: "memory" }));
    let chain: FallbackChain<Request<Body>, Response<Body>> =
        FallbackChain::builder("greeter").repeat_if(|_: &Request<Body>| true).provider(memory).build().unwrap();
    let layers = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("echo"), chain))
        .into_inner();
    let service = GreeterServer::new(Echo::default());
    let server = GrpcServer::start(|incoming| {
        Server::builder().layer(layers).add_service(service).serve_with_incoming(incoming)
    })
    .await;
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(PropagateDegradationLayer::new(name!("greeter")))
        .service(server.channel());
    let mut client = GreeterClient::new(stack);
    let labels = |metadata: &MetadataMap| {
        ["x-fallback-source", "x-data-freshness"]
            .map(|name| metadata.get(name).map(|it| it.to_str().unwrap().to_owned()))
    };

    let reply = client.say_hello(hello("Ada")).await.unwrap();
    assert_eq!(labels(reply.metadata()), [None, None]);
    let degraded = [Some("greeter/memory".to_owned()), Some("degraded".to_owned())];
    let reply = client.say_hello(hello("fail")).await.unwrap();
    assert_eq!(labels(reply.metadata()), degraded);
    let talk = tokio_stream::iter([hello("fail")]);
    let reply = client.greet_all(talk).await.unwrap();
    assert_eq!(labels(reply.metadata()), degraded);
}
