//! The layer compiles and behaves where people put it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    routing::{get, get_service},
};
use backstop_core::{HttpReject, RejectAsError, Rejection};
use backstop_timeout::{Timeout, TimeoutBuilder, TimeoutFuture, TimeoutLayer};
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const LIMIT: Duration = Duration::from_millis(100);

fn layer() -> TimeoutLayer {
    TimeoutLayer::builder("upstream").limit(LIMIT).build().unwrap()
}

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<TimeoutLayer>();
    is_shared::<TimeoutLayer<RejectAsError>>();
    is_shared::<TimeoutBuilder>();
    is_shared::<Timeout<axum::routing::Route>>();
};

fn is_send<T: Send>(_: &T) {}

fn is_infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
    service
}

async fn slow() -> &'static str {
    sleep(LIMIT * 10).await;
    "late"
}

async fn quick() -> &'static str {
    "well"
}

#[tokio::test(start_paused = true)]
async fn it_works_in_every_place_of_an_axum_router() {
    let routes = || Router::new().route("/slow", get(slow)).route("/quick", get(quick));
    let in_handler = Router::new().route("/slow", get(slow.layer(layer()))).route("/quick", get(quick.layer(layer())));
    let in_method = Router::new().route("/slow", get(slow).layer(layer())).route("/quick", get(quick).layer(layer()));
    let in_builder = routes().layer(ServiceBuilder::new().layer(layer()).layer(layer()));
    let as_service = Router::new()
        .route("/slow", get_service(layer().layer(get(slow))))
        .route("/quick", get_service(layer().layer(get(quick))));
    for router in
        [routes().layer(layer()), routes().route_layer(layer()), in_handler, in_method, in_builder, as_service]
    {
        let router = is_infallible(router);
        let get = |path| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        assert_eq!(get("/slow").await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(get("/quick").await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn the_future_is_send_where_the_inner_one_is_whatever_the_service_and_the_request_are() {
    let calls = Rc::new(Cell::new(0));
    let mut service = layer().layer(service_fn(|_: Request<Rc<()>>| {
        calls.set(calls.get() + 1);
        async { Ok::<_, Infallible>(Response::new(())) }
    }));
    let future = service.call(Request::new(Rc::new(())));
    is_send(&future);
    assert!(future.await.is_ok());
    assert_eq!(calls.get(), 1);
}

#[test]
fn it_shows_itself_whatever_the_strategy_is() {
    let layer = layer().reject_with(|_: Rejection| Err::<u8, _>("late"));
    assert_eq!(format!("{layer:?}"), r#"TimeoutLayer { name: "upstream", limit: 100ms, .. }"#);
    let mut service = layer.layer(service_fn(|(): ()| async { Ok::<u8, &str>(1) }));
    let future: TimeoutFuture<_, _, _> = service.call(());
    assert!(format!("{future:?}").starts_with("TimeoutFuture"));
}

#[test]
fn it_gives_back_what_it_wraps() {
    let mut service: Timeout<u8, HttpReject> = layer().layer(1);
    assert_eq!(*service.get_ref(), 1);
    *service.get_mut() = 2;
    assert_eq!(service.into_inner(), 2);
}
