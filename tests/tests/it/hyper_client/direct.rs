use std::{fmt, time::Duration};

use axum::{Router, body::Body, routing::get};
use backstop::{
    CircuitBreakerLayer, CircuitState, DegradationHeaderLayer, FallbackChain, FallbackLayer, HttpClassify, Provider,
    Reason, Rejection, RetryLayer, TimeoutLayer, name, opaque,
};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper_util::client::legacy;
use tokio::task::JoinSet;
use tower::{BoxError, ServiceBuilder, ServiceExt, util::MapRequestLayer};

use super::upstream::{Client, Misdeed, Opening, Upstream, client, deaf_port, post, retry, text};

/// Sends requests through this stack in a spawned task, and in an axum handler.
macro_rules! asks_anywhere {
    ($($test:ident: |$client:ident| $stack:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            let upstream = Upstream::start().await;
            let $client = client();
            let stack = $stack;

            let mut tasks = JoinSet::new();
            let (spawned, request) = (stack.clone(), upstream.post());
            tasks.spawn(async move { text(spawned.oneshot(request).await.unwrap()).await });
            assert_eq!(tasks.join_next().await.unwrap().unwrap(), "fresh");

            let address = upstream.address;
            let handler = move || {
                let (stack, request) = (stack.clone(), post(address));
                async move { stack.oneshot(request).await.map(|answer| answer.map(Body::new)).unwrap() }
            };
            let app: Router = Router::new().route("/", get(handler));
            let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(text(answer).await, "fresh");
            assert_eq!(upstream.asked(), ["POST the order"; 2]);
        }
    )* };
}

asks_anywhere! {
    a_retry: |client| ServiceBuilder::new()
        .layer(RetryLayer::builder("upstream").discard_replaced().build().unwrap())
        .service(client);
    a_degradation_header: |client| ServiceBuilder::new().layer(DegradationHeaderLayer::new()).service(client);
    a_circuit_breaker: |client| opaque(ServiceBuilder::new()
        .layer(CircuitBreakerLayer::builder("upstream").reject_as_error().build().unwrap())
        .map_err(BoxError::from)
        .service(client));
    a_circuit_breaker_that_rejects_with_a_closure: |client| opaque(ServiceBuilder::new()
        .layer(CircuitBreakerLayer::builder("upstream").reject_with(|no| Err(BoxError::from(no))).build().unwrap())
        .map_err(BoxError::from)
        .service(client));
    a_timeout: |client| opaque(ServiceBuilder::new()
        .layer(TimeoutLayer::builder("upstream").reject_as_error().build().unwrap())
        .map_err(BoxError::from)
        .service(client));
    a_fallback: |client| opaque(ServiceBuilder::new()
        .layer(FallbackLayer::builder("upstream", replica(&client))
            .discard_replaced()
            .reject_as_error()
            .build()
            .unwrap())
        .map_err(BoxError::from)
        .service(client));
    the_whole_stack: |client| opaque(ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::builder("upstream", replica(&client))
            .discard_replaced()
            .reject_as_error()
            .build()
            .unwrap())
        .layer(RetryLayer::builder("upstream").discard_replaced().build().unwrap())
        .layer(CircuitBreakerLayer::builder("upstream").reject_as_error().build().unwrap())
        .layer(TimeoutLayer::builder("upstream").reject_as_error().build().unwrap())
        .map_err(BoxError::from)
        .service(client));
    the_whole_stack_with_an_error_of_its_own: |client| ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::builder("upstream", replica(&client))
            .discard_replaced()
            .reject_as_error()
            .build()
            .unwrap())
        .layer(RetryLayer::builder("upstream").discard_replaced().build().unwrap())
        .layer(CircuitBreakerLayer::builder("upstream").reject_as_error().build().unwrap())
        .layer(TimeoutLayer::builder("upstream").reject_as_error().build().unwrap())
        .map_err(CallError::Client)
        .service(client);
}

/// A chain that falls back on the same client, because only a client can make an `Incoming` body.
fn replica(client: &Client) -> FallbackChain<Request<Body>, Response<Incoming>> {
    replica_at(client, None)
}

fn replica_at(client: &Client, upstream: Option<&Upstream>) -> FallbackChain<Request<Body>, Response<Incoming>> {
    let address = upstream.map(|upstream| upstream.address);
    let elsewhere = MapRequestLayer::new(move |mut request: Request<Body>| {
        if let Some(address) = address {
            *request.uri_mut() = format!("http://{address}/").parse().unwrap();
        }
        request
    });
    let replica = ServiceBuilder::new().layer(elsewhere).service(client.clone());
    FallbackChain::builder("chain").provider(Provider::service(name!("replica"), replica)).build().unwrap()
}

/// An error type of the user's, instead of a box.
#[derive(Debug)]
enum CallError {
    Client(legacy::Error),
    Rejected(Rejection),
}

impl From<Rejection> for CallError {
    fn from(rejection: Rejection) -> Self {
        Self::Rejected(rejection)
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the call failed")
    }
}

impl std::error::Error for CallError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Client(error) => Some(error),
            Self::Rejected(rejection) => Some(rejection),
        }
    }
}

#[tokio::test]
async fn failures_open_the_circuit_which_refuses_by_an_error() {
    let upstream = Upstream::start().await;
    let layer = CircuitBreakerLayer::builder("upstream").consecutive_failures(3).reject_as_error().build().unwrap();
    let circuit = layer.handle();
    let stack = ServiceBuilder::new().layer(layer).map_err(BoxError::from).service(backstop::client(client()));

    upstream.next([Misdeed::Fail, Misdeed::Break, Misdeed::Fail]);
    assert_eq!(stack.clone().oneshot(upstream.get()).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    stack.clone().oneshot(upstream.post()).await.unwrap_err().downcast::<legacy::Error>().unwrap();
    assert_eq!(circuit.state(), CircuitState::Closed);
    stack.clone().oneshot(upstream.get()).await.unwrap();
    assert_eq!(circuit.state(), CircuitState::Open);
    let refused = stack.oneshot(upstream.get()).await.unwrap_err().downcast::<Rejection>().unwrap();
    assert_eq!(refused.detail::<CircuitState>(), Some(&CircuitState::Open));
    assert_eq!(upstream.asked().len(), 3);
}

#[tokio::test]
async fn a_refused_connection_is_tried_again_whatever_the_method() {
    let (port, address) = deaf_port();
    let opening = Opening::new(port);
    let stack = ServiceBuilder::new()
        .layer(retry().discard_replaced().build().unwrap())
        .map_request({
            let opening = opening.clone();
            move |request: Request<Body>| {
                opening.lock().unwrap().attempt();
                request
            }
        })
        .service(backstop::client(client()));
    assert_eq!(text(stack.oneshot(post(address)).await.unwrap()).await, "fresh");
    let opening = opening.lock().unwrap();
    assert_eq!(opening.attempts, 3);
    assert_eq!(opening.upstream.as_ref().unwrap().asked(), ["POST the order"]);
}

#[tokio::test]
async fn a_refused_connection_is_seen_through_an_error_of_the_users_own() {
    let (port, address) = deaf_port();
    let opening = Opening::new(port);
    let stack = ServiceBuilder::new()
        .layer(retry().classify(HttpClassify::new().see_through::<CallError>()).discard_replaced().build().unwrap())
        .map_request({
            let opening = opening.clone();
            move |request: Request<Body>| {
                opening.lock().unwrap().attempt();
                request
            }
        })
        .map_err(CallError::Client)
        .service(backstop::client(client()));
    assert_eq!(text(stack.oneshot(post(address)).await.unwrap()).await, "fresh");
    assert_eq!(opening.lock().unwrap().attempts, 3);
}

#[tokio::test]
async fn a_request_that_was_sent_is_repeated_only_if_its_method_allows() {
    let upstream = Upstream::start().await;
    let stack =
        ServiceBuilder::new().layer(retry().discard_replaced().build().unwrap()).service(backstop::client(client()));

    upstream.next([Misdeed::Break, Misdeed::Fail]);
    assert_eq!(text(stack.clone().oneshot(upstream.get()).await.unwrap()).await, "fresh");
    assert_eq!(upstream.asked(), ["GET"; 3]);

    upstream.next([Misdeed::Break]);
    stack.clone().oneshot(upstream.post()).await.unwrap_err();
    upstream.next([Misdeed::Fail]);
    assert_eq!(text(stack.oneshot(upstream.post()).await.unwrap()).await, "down");
    assert_eq!(upstream.asked()[3..], ["POST the order"; 2]);
}

#[tokio::test]
async fn a_timeout_ends_a_hang_and_the_circuit_counts_it() {
    let upstream = Upstream::start().await;
    let limit = Duration::from_millis(50);
    let layer = CircuitBreakerLayer::builder("upstream").consecutive_failures(1).reject_as_error().build().unwrap();
    let circuit = layer.handle();
    let stack = ServiceBuilder::new()
        .layer(layer)
        .layer(TimeoutLayer::builder("upstream").limit(limit).reject_as_error().build().unwrap())
        .map_err(BoxError::from)
        .service(backstop::client(client()));

    upstream.next([Misdeed::Hang]);
    let ended = stack.oneshot(upstream.get()).await.unwrap_err().downcast::<Rejection>().unwrap();
    assert_eq!(ended.reason(), Reason::TIMEOUT);
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test]
async fn a_fallback_answers_for_failures_and_refusals() {
    let (upstream, spare) = (Upstream::start().await, Upstream::start().await);
    let client = client();
    let fallback = FallbackLayer::builder("upstream", replica_at(&client, Some(&spare)));
    let breaker = CircuitBreakerLayer::builder("upstream").consecutive_failures(1).reject_as_error().build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(fallback.discard_replaced().reject_as_error().build().unwrap())
        .layer(breaker)
        .map_err(BoxError::from)
        .service(client);

    upstream.next([Misdeed::Break]);
    // The second request finds the circuit open. It was never sent, so even a POST may go elsewhere.
    for request in [upstream.get(), upstream.post()] {
        let answer = stack.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-fallback-source"], "replica");
        assert_eq!(text(answer).await, "fresh");
    }
    assert_eq!(upstream.asked(), ["GET"]);
    assert_eq!(spare.asked(), ["GET", "POST the order"]);

    spare.next([Misdeed::Fail]);
    let refused = stack.oneshot(upstream.get()).await.unwrap_err().downcast::<Rejection>().unwrap();
    assert_eq!(refused.reason(), Reason::CIRCUIT_OPEN, "what the primary gave");
}
