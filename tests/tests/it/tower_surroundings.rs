//! Each layer around services that must be made ready, with both error types, in handlers and in tasks.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{convert::Infallible, io::Error};

use axum::{Router, extract::Request, http::StatusCode, response::Response, routing::get as on_get};
use backstop::{
    BulkheadLayer, CircuitBreakerLayer, DeadlineLayer, DegradationHeaderLayer, FallbackChain, FallbackLayer,
    PropagateDeadlineLayer, Provider, RetryLayer, Standard, TimeoutLayer, name, opaque,
};
use backstop_tests::{
    http::{Server, get},
    strict::strict,
};
use tokio::task::JoinSet;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};

fn instead() -> FallbackLayer<Request, Response> {
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    FallbackLayer::new(name!("ml_service"), chain)
}

/// Runs `$check!(name, layer)` for each layer, and for all of them as one stack.
macro_rules! for_each_layer {
    ($check:ident) => {
        $check!("circuit breaker", CircuitBreakerLayer::new(name!("ml_service")));
        $check!("retry", RetryLayer::new(name!("ml_service")));
        $check!("fallback", instead());
        $check!("degradation headers", DegradationHeaderLayer::new());
        $check!("bulkhead", BulkheadLayer::new(name!("ml_service")));
        $check!("timeout", TimeoutLayer::new(name!("ml_service")));
        $check!("deadline", DeadlineLayer::new(name!("edge")));
        $check!("propagation", PropagateDeadlineLayer::new(name!("ml_service")));
        $check!(
            "all",
            ServiceBuilder::new()
                .layer(DegradationHeaderLayer::new())
                .layer(instead())
                .layer(Standard::new(name!("ml_service")))
                .into_inner()
        );
    };
}

/// Ten callers at once, each with a clone, and then ten calls of the same service in a row.
async fn all_are_answered<S>(name: &str, mut stack: S)
where
    S: Service<Request, Response = Response, Error: std::fmt::Debug + Send, Future: Send> + Clone + Send + 'static,
{
    let mut callers = JoinSet::new();
    for _ in 0..10 {
        callers.spawn(stack.clone().oneshot(get("/")));
    }
    while let Some(answer) = callers.join_next().await {
        assert_eq!(answer.unwrap().unwrap().status(), StatusCode::OK, "{name}");
    }
    for _ in 0..10 {
        let answer = stack.ready().await.unwrap().call(get("/")).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{name}");
    }
}

macro_rules! over_a_concurrency_limit {
    ($name:expr, $layer:expr) => {
        let service = strict::<Infallible>([]);
        let seen = service.clone();
        let stack = ServiceBuilder::new().layer($layer).concurrency_limit(1).service(service);
        all_are_answered($name, stack).await;
        assert_eq!(seen.calls(), 20, "{}, infallible", $name);

        let service = strict::<BoxError>([]);
        let seen = service.clone();
        let stack = ServiceBuilder::new().layer($layer).concurrency_limit(1).service(service);
        all_are_answered($name, stack).await;
        assert_eq!(seen.calls(), 20, "{}, with boxed errors", $name);
    };
}

#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_the_service_that_was_ready_is_called() {
    for_each_layer!(over_a_concurrency_limit);
}

macro_rules! over_a_buffer {
    ($name:expr, $layer:expr) => {
        let service = strict::<Infallible>([]);
        let seen = service.clone();
        let stack = ServiceBuilder::new()
            .layer($layer)
            .map_err(|error: BoxError| -> Infallible { unreachable!("the buffer is there: {error}") })
            .buffer(1)
            .service(service);
        all_are_answered($name, stack).await;
        assert_eq!(seen.calls(), 20, "{}, infallible", $name);

        let service = strict::<BoxError>([]);
        let seen = service.clone();
        let stack = ServiceBuilder::new().layer($layer).buffer(1).service(service);
        all_are_answered($name, stack).await;
        assert_eq!(seen.calls(), 20, "{}, with boxed errors", $name);
    };
}

#[tokio::test(start_paused = true)]
async fn over_a_buffer_the_service_that_was_ready_is_called() {
    for_each_layer!(over_a_buffer);
}

macro_rules! under_a_buffer {
    ($name:expr, $layer:expr) => {
        let service = strict::<BoxError>([]);
        let seen = service.clone();
        let stack = ServiceBuilder::new().buffer(1).layer($layer).concurrency_limit(1).service(service);
        all_are_answered($name, stack).await;
        assert_eq!(seen.calls(), 20, "{}", $name);
    };
}

#[tokio::test(start_paused = true)]
async fn under_a_buffer_the_service_that_was_ready_is_called() {
    for_each_layer!(under_a_buffer);
}

/// A layer in the stacks in which it is used on the client side.
macro_rules! shapes {
    ($layer:expr) => {
        (
            ServiceBuilder::new().layer($layer).concurrency_limit(1).service(strict::<Infallible>([])),
            // The types of these contain `BoxError`, or a boxed future.
            opaque(ServiceBuilder::new().layer($layer).buffer(1).service(strict::<Infallible>([]))),
            opaque(ServiceBuilder::new().layer($layer).concurrency_limit(1).service(strict::<BoxError>([]))),
            opaque(ServiceBuilder::new().layer($layer).buffer(1).service(strict::<BoxError>([]))),
            opaque(ServiceBuilder::new().layer($layer).map_err(BoxError::from).service(strict::<Error>([]))),
        )
    };
}

macro_rules! in_a_handler {
    ($name:expr, $layer:expr) => {
        let (infallible, buffered, boxed, boxed_and_buffered, mapped) = shapes!($layer);
        let app = Router::new()
            .route("/infallible", on_get(|| async { infallible.oneshot(get("/")).await }))
            .route("/buffered", on_get(|| async { buffered.oneshot(get("/")).await.map_err(failed) }))
            .route("/boxed", on_get(|| async { boxed.oneshot(get("/")).await.map_err(failed) }))
            .route("/boxed-buffered", on_get(|| async { boxed_and_buffered.oneshot(get("/")).await.map_err(failed) }))
            .route("/mapped", on_get(|| async { mapped.oneshot(get("/")).await.map_err(failed) }));
        let server = Server::start(app).await;
        for path in ["/infallible", "/buffered", "/boxed", "/boxed-buffered", "/mapped"] {
            let (head, body) = server.get(path).await;
            assert_eq!((head.status, &*body), (StatusCode::OK, ""), "{}, {path}", $name);
        }
    };
}

fn failed<E>(_: E) -> &'static str {
    "failed"
}

#[tokio::test]
async fn in_an_axum_handler_a_client_side_stack_answers_whatever_its_error_is() {
    for_each_layer!(in_a_handler);
}

macro_rules! in_a_task {
    ($name:expr, $layer:expr) => {
        let (infallible, buffered, boxed, boxed_and_buffered, mapped) = shapes!($layer);
        for answer in [
            tokio::spawn(async { infallible.oneshot(get("/")).await.unwrap().status() }),
            tokio::spawn(async { buffered.oneshot(get("/")).await.unwrap().status() }),
            tokio::spawn(async { boxed.oneshot(get("/")).await.unwrap().status() }),
            tokio::spawn(async { boxed_and_buffered.oneshot(get("/")).await.unwrap().status() }),
            tokio::spawn(async { mapped.oneshot(get("/")).await.unwrap().status() }),
        ] {
            assert_eq!(answer.await.unwrap(), StatusCode::OK, "{}", $name);
        }
    };
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "that a stack can be spawned is what this shows")]
async fn in_a_task_a_stack_answers_whatever_its_error_is() {
    for_each_layer!(in_a_task);
}
