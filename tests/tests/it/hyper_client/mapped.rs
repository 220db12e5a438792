use std::time::Duration;

use axum::{Router, body::Body, routing::get};
use backstop::{
    CircuitBreakerLayer, CircuitState, DegradationHeaderLayer, FallbackChain, FallbackLayer, Provider, Reason,
    Rejection, RetryLayer, Standard, TimeoutLayer, name,
};
use http::{Request, Response, StatusCode};
use hyper_util::client::legacy;
use tokio::task::JoinSet;
use tower::{ServiceBuilder, ServiceExt};

use super::upstream::{Misdeed, Upstream, client, deaf_port, get as get_from, post, retry, text};

/// The client, with axum's response bodies.
macro_rules! mapped {
    ($layers:expr) => {
        ServiceBuilder::new()
            .layer($layers)
            .map_response(|answer: Response<hyper::body::Incoming>| answer.map(Body::new))
            .service(backstop::client(client()))
    };
}

/// Sends requests through these layers in a spawned task, and in an axum handler, without `opaque`.
macro_rules! asks_anywhere {
    ($($test:ident: $layers:expr;)*) => { $(
        #[tokio::test]
        async fn $test() {
            let upstream = Upstream::start().await;
            let stack = mapped!($layers);

            let mut tasks = JoinSet::new();
            let (spawned, request) = (stack.clone(), upstream.post());
            tasks.spawn(async move { text(spawned.oneshot(request).await.unwrap()).await });
            assert_eq!(tasks.join_next().await.unwrap().unwrap(), "fresh");

            let address = upstream.address;
            let handler = move || {
                let (stack, request) = (stack.clone(), post(address));
                async move { stack.oneshot(request).await.unwrap() }
            };
            let app: Router = Router::new().route("/", get(handler));
            let answer = app.oneshot(Request::new(Body::empty())).await.unwrap();
            assert_eq!(text(answer).await, "fresh");
            assert_eq!(upstream.asked(), ["POST the order"; 2]);
        }
    )* };
}

asks_anywhere! {
    a_circuit_breaker: CircuitBreakerLayer::new(name!("upstream"));
    a_retry: RetryLayer::new(name!("upstream"));
    a_timeout: TimeoutLayer::new(name!("upstream"));
    a_fallback: FallbackLayer::new(name!("upstream"), usual());
    a_degradation_header: DegradationHeaderLayer::new();
    the_whole_stack: ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("upstream"), usual()))
        .layer(Standard::new(name!("upstream")));
}

fn usual() -> FallbackChain<Request<Body>, Response<Body>> {
    FallbackChain::builder("chain").provider(Provider::handler(name!("usual"), || async { "usual" })).build().unwrap()
}

#[tokio::test]
async fn failures_open_the_circuit_which_answers_503() {
    let upstream = Upstream::start().await;
    let layer =
        CircuitBreakerLayer::builder("upstream").consecutive_failures(2).retry_after_jitter(0.0).build().unwrap();
    let circuit = layer.handle();
    let stack = mapped!(layer);

    upstream.next([Misdeed::Fail, Misdeed::Break]);
    assert_eq!(text(stack.clone().oneshot(upstream.get()).await.unwrap()).await, "down");
    let _: legacy::Error = stack.clone().oneshot(upstream.get()).await.unwrap_err();
    assert_eq!(circuit.state(), CircuitState::Open);
    let refused = stack.oneshot(upstream.get()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.headers()["retry-after"], "60");
    assert_eq!(refused.extensions().get::<Rejection>().unwrap().reason(), Reason::CIRCUIT_OPEN);
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn refused_connections_open_the_circuit() {
    let (_port, address) = deaf_port();
    let layer = CircuitBreakerLayer::builder("upstream").consecutive_failures(3).build().unwrap();
    let circuit = layer.handle();
    // Three attempts of a POST, because none of them was processed.
    let stack = mapped!(ServiceBuilder::new().layer(retry().build().unwrap()).layer(layer));
    assert!(stack.oneshot(post(address)).await.unwrap_err().is_connect());
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test]
async fn a_timeout_ends_a_hang_with_504() {
    let upstream = Upstream::start().await;
    let timeout = TimeoutLayer::builder("upstream").limit(Duration::from_millis(250)).build().unwrap();
    let stack = mapped!(ServiceBuilder::new().layer(retry().build().unwrap()).layer(timeout));

    upstream.next([Misdeed::Hang]);
    let ended = stack.clone().oneshot(upstream.post()).await.unwrap();
    assert_eq!(ended.status(), StatusCode::GATEWAY_TIMEOUT);
    assert!(ended.extensions().get::<Rejection>().is_some());
    assert_eq!(upstream.asked().len(), 1, "it may have been processed");

    upstream.next([Misdeed::Hang]);
    assert_eq!(text(stack.oneshot(upstream.get()).await.unwrap()).await, "fresh");
}

#[tokio::test]
async fn the_last_failed_answer_comes_whole_over_one_connection() {
    let upstream = Upstream::start().await;
    // Waits of at least 1 ms, so that the client has its connection back before the next attempt.
    let stack = mapped!(retry().backoff_base(Duration::from_millis(50)).seed(2).build().unwrap());

    upstream.next([Misdeed::Fail, Misdeed::Fail, Misdeed::Fail]);
    let answer = stack.oneshot(upstream.get()).await.unwrap();
    assert_eq!(
        (answer.status(), &answer.headers()["x-why"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"repairs".parse().unwrap())
    );
    assert_eq!(text(answer).await, "down");
    assert_eq!(upstream.asked().len(), 3);
    assert_eq!(upstream.connections(), 1, "what was replaced was read to its end");
}

#[tokio::test]
async fn an_earlier_answer_is_worth_more_than_a_later_refusal() {
    let upstream = Upstream::start().await;
    let breaker = CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap();
    let stack = mapped!(ServiceBuilder::new().layer(retry().max_attempts(5).build().unwrap()).layer(breaker));

    upstream.next([Misdeed::Fail, Misdeed::Fail]);
    assert_eq!(text(stack.oneshot(upstream.get()).await.unwrap()).await, "down");
    assert_eq!(upstream.asked().len(), 2);
}

#[tokio::test]
async fn a_fallback_answers_whatever_goes_wrong() {
    let upstream = Upstream::start().await;
    let (_port, deaf) = deaf_port();
    let timeout = TimeoutLayer::builder("upstream").limit(Duration::from_millis(250)).build().unwrap();
    let stack = mapped!(
        ServiceBuilder::new()
            .layer(DegradationHeaderLayer::new())
            .layer(FallbackLayer::new(name!("upstream"), usual()))
            .layer(timeout)
    );
    upstream.next([Misdeed::Fail, Misdeed::Break, Misdeed::Hang]);
    for request in [upstream.get(), upstream.get(), upstream.get(), get_from(deaf), post(deaf)] {
        let answer = stack.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.headers()["x-fallback-source"], "usual");
        assert_eq!(answer.headers()["x-data-freshness"], "degraded");
        assert_eq!(text(answer).await, "usual");
    }
    upstream.next([Misdeed::Fail]);
    let answer = stack.clone().oneshot(upstream.post()).await.unwrap();
    assert!(!answer.headers().contains_key("x-fallback-source"));
    assert_eq!(text(answer).await, "down", "the order may have been taken");
    assert_eq!(text(stack.oneshot(upstream.post()).await.unwrap()).await, "fresh");
}
