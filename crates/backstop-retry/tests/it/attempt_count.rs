//! How a request tells how often it was sent before.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use crate::support::{Upstream, get, response, with_method};
use axum::body::Body;
use backstop_retry::{RetryBuilder, RetryConfig, RetryLayer};
use http::{HeaderName, Method, Request, Version};
use tower::{Layer, Service, ServiceExt};

const COUNT: HeaderName = HeaderName::from_static("x-attempts");
const GRPC: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// What the upstream, which is down, finds in this header, call by call.
async fn found(layer: RetryLayer, header: HeaderName, request: Request<Body>) -> Vec<Option<String>> {
    let upstream = Upstream::statuses([503])
        .recording(move |request| request.headers().get(&header).map(|value| value.to_str().unwrap().to_owned()));
    _ = layer.layer(upstream.clone()).oneshot(request).await;
    upstream.requests()
}

fn counting() -> RetryBuilder {
    RetryLayer::builder("ml").attempt_header(COUNT)
}

fn with_count(value: &'static str) -> Request<Body> {
    let mut request = get();
    request.headers_mut().insert(COUNT, value.parse().unwrap());
    request
}

fn texts<const N: usize>(values: [Option<&str>; N]) -> Vec<Option<String>> {
    values.map(|value| value.map(str::to_owned)).into()
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_sent_again_tells_how_often_it_was_sent_before() {
    let layer = counting().build().unwrap();
    assert_eq!(found(layer.clone(), COUNT, get()).await, texts([None, Some("1"), Some("2")]));
    assert_eq!(found(layer, GRPC, get()).await, texts([None; 3]), "that isn't gRPC's");
    let of_config = {
        let mut config = RetryConfig::new("ml");
        config.attempt_header = Some(COUNT);
        RetryLayer::from_config(config).unwrap()
    };
    assert_eq!(found(of_config, COUNT, get()).await, texts([None, Some("1"), Some("2")]));
    let silent = RetryLayer::builder("ml").build().unwrap();
    assert_eq!(found(silent, COUNT, get()).await, texts([None; 3]));
}

async fn calls_of_a_retry<L>(layer: &L) -> usize
where
    L: Layer<Upstream>,
    L::Service: Service<Request<Body>>,
{
    let upstream = Upstream::statuses([503]);
    _ = layer.layer(upstream.clone()).oneshot(with_count("3")).await;
    upstream.calls()
}

#[tokio::test(start_paused = true)]
async fn it_is_told_through_a_predicate_too() {
    let layer = counting().repeat_if(|_: &Request<Body>| true).build().unwrap();
    let upstream = Upstream::<std::convert::Infallible>::new(move |n, request: Request<Body>| {
        let told = request.headers().get(COUNT).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(told, (n > 1).then(|| (n - 1).to_string()));
        async { Ok(response(503)) }
    });
    _ = layer.layer(upstream.clone()).oneshot(with_method(Method::POST)).await;
    assert_eq!(upstream.calls(), 3);
    assert_eq!(calls_of_a_retry(&layer).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_of_an_outer_tier_is_not_multiplied() {
    for count in ["1", "2", "unreadable"] {
        assert_eq!(found(counting().build().unwrap(), COUNT, with_count(count)).await, texts([Some(count)]));
    }
    let layer = counting().build().unwrap();
    assert_eq!(found(layer, COUNT, with_count("0")).await, texts([Some("0"), Some("1"), Some("2")]));
    let unaware = RetryLayer::builder("ml").build().unwrap();
    assert_eq!(found(unaware, COUNT, with_count("1")).await.len(), 3);

    let upstream = Upstream::statuses([503]);
    let tiers = counting().build().unwrap().layer(counting().build().unwrap().layer(upstream.clone()));
    _ = tiers.oneshot(get()).await;
    assert_eq!(upstream.calls(), 5, "3 of the inner tier for the outer one's first, then 1 for each of its retries");
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_that_is_sent_again_tells_so_as_grpc_has_it() {
    let call = || {
        let mut request = with_method(Method::POST);
        *request.version_mut() = Version::HTTP_2;
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
        request.extensions_mut().insert(backstop_retry::Repeat::Safe);
        request
    };
    let layer = || RetryLayer::builder("ml").build().unwrap();
    assert_eq!(found(layer(), GRPC, call()).await, texts([None, Some("1"), Some("2")]));
    assert_eq!(found(counting().build().unwrap(), COUNT, call()).await, texts([None, Some("1"), Some("2")]));
}
