//! The layer compiles and behaves where people put it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{cell::Cell, convert::Infallible, future::ready, rc::Rc, time::Duration};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    routing::{get, get_service},
};
use backstop_circuit_breaker::{
    CircuitBreaker, CircuitBreakerBuilder, CircuitBreakerFuture, CircuitBreakerHandle, CircuitBreakerLayer,
    CircuitState, HttpClassify, Rejection, name,
};
use backstop_core::{ErrorRef, Outcome};
use backstop_kit::{Http, RejectAsError};
use http::{Request, Response, StatusCode};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1).build().unwrap()
}

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<CircuitBreakerLayer>();
    is_shared::<CircuitBreakerLayer<Http<HttpClassify, RejectAsError>>>();
    is_shared::<CircuitBreakerBuilder>();
    is_shared::<CircuitBreakerHandle>();
    is_shared::<CircuitBreaker<axum::routing::Route>>();
};

fn is_send<T: Send>(_: &T) {}

async fn bad() -> StatusCode {
    StatusCode::BAD_GATEWAY
}

#[tokio::test(start_paused = true)]
async fn it_works_in_every_place_of_an_axum_router() {
    let routes = || Router::new().route("/", get(bad));
    let routers = [
        routes().layer(layer()),
        routes().route_layer(layer()),
        Router::new().route("/", get(bad.layer(layer()))),
        Router::new().route("/", get(bad).layer(layer())),
        routes().layer(ServiceBuilder::new().layer(layer()).layer(layer())),
        Router::new().route("/", get_service(layer().layer(get(bad)))),
    ];
    for router in routers {
        let call = async || router.clone().oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
        let first = call().await;
        assert_eq!(first.status(), StatusCode::BAD_GATEWAY);
        let second = call().await;
        assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(second.extensions().get::<Rejection>().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn it_fits_a_boxed_service_and_a_task() {
    let answers = service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(Body::empty())) });
    let boxed = BoxCloneSyncService::new(layer().layer(answers));
    let call = async move { boxed.oneshot(Request::new(Body::empty())).await.unwrap().status() };
    is_send(&call);
    assert_eq!(call.await, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn it_needs_neither_send_nor_sync_nor_clone_of_anything() {
    struct Once(Rc<Cell<u32>>);
    let seen = Rc::new(Cell::new(0));
    let counter = Rc::clone(&seen);
    let mut service = layer().layer(service_fn(move |request: Request<Once>| {
        let counter = Rc::clone(&counter);
        async move {
            counter.set(request.body().0.get());
            Ok::<_, Infallible>(Response::new(Rc::new(String::new())))
        }
    }));
    service.ready().await.unwrap().call(Request::new(Once(Rc::new(Cell::new(7))))).await.unwrap();
    assert_eq!(seen.get(), 7);
}

/// The future is named, and can stand in a type of one's own.
struct _Named<S: Service<Request<Body>, Response = Response<Body>>>(CircuitBreakerFuture<S, Request<Body>, Http>);

#[derive(Debug, PartialEq)]
enum Failure {
    Down,
    Refused(Option<CircuitState>, Option<Duration>),
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        Self::Refused(rejection.detail().copied(), rejection.retry_after())
    }
}

fn refused() -> Failure {
    Failure::Refused(Some(CircuitState::Open), Some(Duration::from_secs(60)))
}

fn judge(result: Result<&u32, ErrorRef<'_>>) -> Outcome {
    match result {
        Ok(0) | Err(_) => Outcome::failure(),
        Ok(_) => Outcome::success(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_http_rejects_with_its_own_error() {
    let layer = CircuitBreakerLayer::builder("queue")
        .consecutive_failures(2)
        .retry_after_jitter(0.0)
        .plain()
        .classify_fn(judge)
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(|n: u32| ready(if n == 7 { Err(Failure::Down) } else { Ok(n) })));
    let mut call = async |n| service.ready().await.unwrap().call(n).await;
    assert_eq!(call(1).await, Ok(1));
    assert_eq!(call(7).await, Err(Failure::Down));
    assert_eq!(call(0).await, Ok(0));
    assert_eq!(call(1).await, Err(refused()));
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_not_http_rejects_with_what_a_closure_makes() {
    let layer = CircuitBreakerLayer::builder("queue")
        .consecutive_failures(1)
        .plain()
        .classify_fn(|result: Result<&Option<u32>, ErrorRef<'_>>| match result {
            Ok(Some(_)) => Outcome::success(),
            Ok(None) | Err(_) => Outcome::failure(),
        })
        .retry_after_jitter(0.0)
        .reject_with(|rejection| Ok(Some(rejection.retry_after().unwrap().as_secs() as u32)))
        .build()
        .unwrap();
    let mut service = layer.layer(service_fn(|n: Option<u32>| ready(Ok::<_, Infallible>(n))));
    assert_eq!(service.ready().await.unwrap().call(None).await, Ok(None));
    assert_eq!(service.ready().await.unwrap().call(None).await, Ok(Some(60)));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_transport_is_passed_on_and_counted() {
    let layer = CircuitBreakerLayer::new(name!("upstream"));
    let mut service = layer
        .layer(service_fn(|_: Request<Body>| async { Err::<Response<Body>, BoxError>("connection reset".into()) }));
    for failures in 1..5 {
        let error = service.ready().await.unwrap().call(Request::new(Body::empty())).await.unwrap_err();
        assert_eq!(error.to_string(), "connection reset");
        assert_eq!(layer.handle().counts().failures, failures);
    }
}
