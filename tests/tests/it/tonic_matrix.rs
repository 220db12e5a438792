//! Each layer, on a tonic server and around a `Channel`, with calls of all four kinds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a helper of a test may fail it")]

use std::{future::IntoFuture, time::Duration};

use backstop::{
    BulkheadLayer, CircuitBreakerLayer, Commit, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer,
    LastKnownGoodLayer, PropagateDeadlineLayer, PropagateDegradationLayer, Provider, RetryLayer,
    StaleWhileRevalidateLayer, Standard, TimeoutLayer, UntilBodyEnd, name, standard,
    timeout::{UntilBodyEnd as CoverBody, UntilFirstFrame},
};
use backstop_tests::{
    greeter::{Echo, assert_all_kinds_pass, hello},
    grpc::{GrpcServer, channel_to},
};
use greeter::pb::{greeter_client::GreeterClient, greeter_server::GreeterServer};
use http::{Request, Response};
use tokio::{net::TcpListener, task::JoinSet};
use tonic::{
    Code,
    body::Body,
    service::{InterceptorLayer, Routes},
    transport::Server,
};
use tower::{ServiceBuilder, util::MapResponseLayer};

/// Makes two tests of each stack: on a server, and around a channel.
macro_rules! matrix {
    ($($test:ident: $layers:expr;)*) => {
        mod server {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let (service, layers) = (GreeterServer::new(Echo::default()), $layers);
                let server = GrpcServer::start(|incoming| {
                    Server::builder().layer(layers).add_service(service).serve_with_incoming(incoming)
                })
                .await;
                assert_all_kinds_pass(GreeterClient::new(server.channel())).await;
            })*
        }

        mod channel {
            use super::*;
            $(#[tokio::test]
            async fn $test() {
                let service = GreeterServer::new(Echo::default());
                let server =
                    GrpcServer::start(|incoming| Server::builder().add_service(service).serve_with_incoming(incoming))
                        .await;
                let stack = ServiceBuilder::new().layer($layers).service(server.channel());
                assert_all_kinds_pass(GreeterClient::new(stack)).await;
            })*
        }
    };
}

const MINUTE: Duration = Duration::from_secs(60);

type Chain = FallbackChain<Request<Body>, Response<Body>>;

/// A chain whose provider is as good as none: it has another service's answer, without a mood.
fn chain(commit: Commit) -> Chain {
    let other = Provider::service(name!("other"), GreeterServer::new(Echo::default()));
    FallbackChain::builder("greeter").commit_on(commit).provider(other).build().unwrap()
}

fn fallback(commit: Commit) -> FallbackLayer<Request<Body>, Response<Body>> {
    FallbackLayer::new(name!("primary"), chain(commit))
}

fn passes(request: tonic::Request<()>) -> Result<tonic::Request<()>, tonic::Status> {
    Ok(request)
}

matrix! {
    a_circuit_breaker: CircuitBreakerLayer::new(name!("greeter"));
    a_circuit_breaker_until_the_body_ends: CircuitBreakerLayer::builder("greeter").observe(UntilBodyEnd).build().unwrap();
    a_circuit_breaker_per_method:
        CircuitBreakerLayer::builder("greeter").build_keyed(9, |call: &Request<Body>| call.uri().path().to_owned()).unwrap();
    a_retry: RetryLayer::new(name!("greeter"));
    a_retry_of_all_calls: RetryLayer::builder("greeter").repeat_if(|_: &Request<Body>| true).build().unwrap();
    a_bulkhead: BulkheadLayer::new(name!("greeter"));
    a_bulkhead_until_the_head: BulkheadLayer::new(name!("greeter")).until_headers();
    a_timeout: TimeoutLayer::new(name!("greeter"));
    a_timeout_of_the_first_message:
        TimeoutLayer::builder("greeter").limit(MINUTE).cover(UntilFirstFrame).build().unwrap();
    a_timeout_of_the_whole_call: TimeoutLayer::builder("greeter").limit(MINUTE).cover(CoverBody).build().unwrap();
    a_timeout_after_the_upload: TimeoutLayer::builder("greeter").limit(MINUTE).after_upload().build().unwrap();
    a_deadline: DeadlineLayer::new(name!("greeter"));
    a_deadline_that_is_sent_on: ServiceBuilder::new()
        .layer(DeadlineLayer::new(name!("greeter")))
        .layer(PropagateDeadlineLayer::new(name!("greeter")));
    a_fallback: fallback(Commit::Headers);
    a_fallback_until_the_first_message: fallback(Commit::FirstFrame);
    degradation_headers: DegradationHeaderLayer::new();
    what_an_upstream_says_of_its_answer: PropagateDegradationLayer::new(name!("greeter"));
    problem_documents: CircuitBreakerLayer::builder("greeter").problem_details().build().unwrap();
    the_standard_stack_with_other_settings: standard("greeter")
        .timeout(Duration::from_secs(20))
        .retry(|retry| retry.max_attempts(2))
        .build()
        .unwrap()
        .until_headers();
    the_last_known_good_answer: LastKnownGoodLayer::new(name!("greeter"));
    a_stale_answer_while_it_is_revalidated: StaleWhileRevalidateLayer::new(LastKnownGoodLayer::new(name!("greeter")).handle(), drop);
    the_standard_stack: Standard::new(name!("greeter"));
    every_layer: ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(DeadlineLayer::new(name!("greeter")))
        .layer(fallback(Commit::Headers))
        .layer(LastKnownGoodLayer::new(name!("greeter")))
        .layer(Standard::new(name!("greeter")))
        .layer(PropagateDeadlineLayer::new(name!("greeter")));
    an_interceptor_outside_of_every_layer: ServiceBuilder::new()
        .layer(InterceptorLayer::new(passes))
        .layer(DegradationHeaderLayer::new())
        .layer(fallback(Commit::Headers))
        .layer(Standard::new(name!("greeter")));
    an_interceptor_inside_of_every_layer: ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(fallback(Commit::Headers))
        .layer(Standard::new(name!("greeter")))
        .layer(MapResponseLayer::new(|response: Response<_>| response.map(Body::new)))
        .layer(InterceptorLayer::new(passes));
}

/// Where gRPC and HTTP share a port, axum's bodies carry gRPC's answers.
#[tokio::test]
async fn a_tonic_service_in_an_axum_router() {
    let breaker = CircuitBreakerLayer::builder("greeter").observe(UntilBodyEnd).build().unwrap();
    let circuit = breaker.handle();
    let layers = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(DeadlineLayer::new(name!("greeter")))
        .layer(RetryLayer::new(name!("greeter")))
        .layer(breaker)
        .layer(BulkheadLayer::new(name!("greeter")))
        .layer(TimeoutLayer::builder("greeter").limit(MINUTE).cover(CoverBody).build().unwrap());
    let app = Routes::new(GreeterServer::new(Echo::default())).into_axum_router().layer(layers);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(axum::serve(listener, app).into_future());

    let mut client = GreeterClient::new(channel_to(address));
    assert_all_kinds_pass(client.clone()).await;
    assert_eq!(circuit.counts().failures, 1, "the last call failed in its trailers");
    circuit.isolate();
    let refused = client.say_hello(hello("Ada")).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("circuit greeter"), "{refused}");
}
