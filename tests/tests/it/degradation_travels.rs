//! If a service labels its answer as cached, so does the service that calls it.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::get,
};
use backstop::{
    Degradation, DegradationHeaderLayer, Degradations, FallbackChain, FallbackLayer, Freshness,
    PropagateDegradationLayer, Provider, Reason, RetryLayer, TimeoutLayer, name, scope,
};
use backstop_tests::{
    grpc::{GrpcServer, Scripted, question},
    http::{Server, client, header},
};
use tonic::transport::Server as TonicServer;
use tonic_health::pb::{health_client::HealthClient, health_server::HealthServer};
use tower::{BoxError, Layer, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

fn cached(age: u64) -> Degradation {
    let freshness = Freshness::stale(Duration::from_secs(age));
    Degradation::new(name!("items"), name!("cached"), 1, Reason::CIRCUIT_OPEN, freshness)
}

/// A service with degradation headers. Its answers come from a cache. The first one is a failure.
async fn upstream() -> Server {
    let calls = Arc::new(AtomicUsize::new(0));
    let answer = move || {
        let call = calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let (status, age) = if call == 0 { (StatusCode::SERVICE_UNAVAILABLE, 7) } else { (StatusCode::OK, 40) };
            scope::report(cached(age));
            (status, "9.99")
        }
    };
    Server::start(Router::new().route("/", get(answer)).layer(DegradationHeaderLayer::new())).await
}

/// A service whose handler calls an upstream, and returns the reported degradations.
async fn asks(upstream: Client) -> Server {
    let page = async move |degradations: Degradations| {
        let body = upstream.clone().oneshot(Request::new(Body::empty())).await.unwrap().into_body();
        let said: Vec<_> = degradations.so_far().iter().map(|it| it.path().to_string()).collect();
        ([("x-said", said.join(" "))], body)
    };
    Server::start(Router::new().route("/", get(page)).layer(DegradationHeaderLayer::new())).await
}

type Client = BoxCloneSyncService<Request, Response, BoxError>;

fn http(upstream: &Server) -> Client {
    Client::new(client(upstream.address()).map_err(BoxError::from))
}

fn labels(headers: &HeaderMap) -> [Option<&str>; 3] {
    ["x-fallback-source", "x-data-freshness", "age"].map(|name| headers.get(name).map(|value| value.to_str().unwrap()))
}

#[tokio::test]
async fn what_an_upstream_says_of_its_answer_reaches_the_caller_of_its_caller() {
    let upstream = upstream().await;
    let service = asks(Client::new(PropagateDegradationLayer::new(name!("ml_service")).layer(http(&upstream)))).await;
    for age in ["7", "40"] {
        let (head, body) = service.get("/").await;
        assert_eq!(labels(&head.headers), [Some("ml_service/cached"), Some("stale"), Some(age)]);
        assert_eq!(header(&head, "x-said"), Some("ml_service/cached"), "the handler can say it as well");
        assert_eq!(body, "9.99");
    }
}

#[tokio::test]
async fn of_a_retried_upstream_only_the_answer_that_is_used_is_told() {
    let retry = RetryLayer::builder("ml_service").backoff_base(Duration::from_millis(1)).build().unwrap();
    // Outside of the retry, then inside.
    for is_outside in [true, false] {
        let upstream = upstream().await;
        let propagate = PropagateDegradationLayer::new(name!("ml_service"));
        let (outside, inside) = if is_outside { (Some(propagate), None) } else { (None, Some(propagate)) };
        let stack = ServiceBuilder::new()
            .option_layer(outside)
            .layer(retry.clone())
            .layer(TimeoutLayer::new(name!("ml_service")))
            .option_layer(inside)
            .service(http(&upstream));
        let service = asks(Client::new(stack)).await;
        let (head, _) = service.get("/").await;
        assert_eq!(labels(&head.headers), [Some("ml_service/cached"), Some("stale"), Some("40")], "{is_outside}");
    }
}

#[tokio::test]
async fn of_an_upstream_whose_answer_was_replaced_nothing_is_told() {
    let upstream = upstream().await;
    let replica = Provider::from_fn(name!("replica"), |_: Request| async { "9.99".into_response() });
    let replica = FallbackChain::builder("prices").provider(replica.freshness(Freshness::Fresh)).build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("ml_service"), replica))
        .layer(PropagateDegradationLayer::new(name!("ml_service")))
        .service(http(&upstream));
    let service = asks(Client::new(stack)).await;
    let (head, _) = service.get("/").await;
    assert_eq!(labels(&head.headers), [Some("replica"), Some("fresh"), None]);
}

#[tokio::test]
async fn over_grpc_the_same_is_told_in_metadata() {
    let health = HealthServer::new(Scripted::new().await);
    let labelled = ServiceBuilder::new().layer(DegradationHeaderLayer::new()).map_future(async |answer| {
        scope::report(cached(40));
        answer.await
    });
    let upstream = GrpcServer::start(|incoming| {
        TonicServer::builder().layer(labelled.into_inner()).add_service(health).serve_with_incoming(incoming)
    })
    .await;
    let client = PropagateDegradationLayer::new(name!("health"));
    let client = HealthClient::new(ServiceBuilder::new().layer(client).service(upstream.channel()));

    let handler = service_fn(move |_: Request| {
        let mut client = client.clone();
        async move {
            let checked = client.check(question("greeter")).await?;
            assert_eq!(checked.metadata().get("x-fallback-source").unwrap(), "health/cached");
            Ok::<_, tonic::Status>(checked.into_inner().status().as_str_name().into_response())
        }
    });
    let service = DegradationHeaderLayer::new().layer(handler);
    let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(labels(response.headers()), [Some("health/cached"), Some("stale"), Some("40")]);
}
