//! The layer compiles and behaves where people put it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use backstop_core::{ErrorRef, Reason, Rejection};
use std::{cell::Cell, convert::Infallible, rc::Rc, time::Duration};

use axum::{
    Router,
    body::Body,
    handler::Handler,
    routing::{get, get_service},
};
use backstop_kit::{HttpReject, RejectAsError};
use backstop_timeout::{
    DeadlineBuilder, DeadlineLayer, DeadlineService, HttpStrategies, PlainStrategies, PropagateDeadline,
    PropagateDeadlineBuilder, PropagateDeadlineLayer, Timeout, TimeoutBuilder, TimeoutFuture, TimeoutLayer,
    UntilBodyEnd, UntilFirstFrame, name, time_left,
};
use http::{Request, Response, StatusCode};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

use crate::scripted::{Act, Scripted};

const LIMIT: Duration = Duration::from_millis(100);

fn layer() -> TimeoutLayer {
    TimeoutLayer::builder("upstream").limit(LIMIT).build().unwrap()
}

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<TimeoutLayer>();
    is_shared::<TimeoutLayer<HttpStrategies<RejectAsError>>>();
    is_shared::<TimeoutLayer<PlainStrategies>>();
    is_shared::<TimeoutBuilder>();
    is_shared::<Timeout<axum::routing::Route>>();
    is_shared::<Timeout<axum::routing::Route, HttpStrategies<HttpReject, UntilBodyEnd>>>();
    is_shared::<DeadlineLayer<RejectAsError>>();
    is_shared::<DeadlineBuilder>();
    is_shared::<DeadlineService<axum::routing::Route>>();
    is_shared::<PropagateDeadlineLayer<RejectAsError>>();
    is_shared::<PropagateDeadlineBuilder>();
    is_shared::<PropagateDeadline<axum::routing::Route>>();
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

fn edge() -> DeadlineLayer {
    DeadlineLayer::builder("edge").limit(LIMIT).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_deadline_works_in_every_place_of_an_axum_router() {
    let routes = || Router::new().route("/slow", get(slow)).route("/quick", get(quick));
    let in_handler = Router::new().route("/slow", get(slow.layer(edge()))).route("/quick", get(quick.layer(edge())));
    let in_method = Router::new().route("/slow", get(slow).layer(edge())).route("/quick", get(quick).layer(edge()));
    let in_builder = routes().layer(ServiceBuilder::new().layer(edge()).layer(PropagateDeadlineLayer::new(name!("p"))));
    for router in [routes().layer(edge()), routes().route_layer(edge()), in_handler, in_method, in_builder] {
        let router = is_infallible(router);
        let get = |path| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
        assert_eq!(get("/slow").await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(get("/quick").await.unwrap().status(), StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_covered_body_stays_axums() {
    async fn hangs() -> Body {
        Scripted::new([Act::Hang]).axum()
    }
    let first = TimeoutLayer::builder("upstream").limit(LIMIT).cover(UntilFirstFrame).build().unwrap();
    let whole = TimeoutLayer::builder("upstream").limit(LIMIT).cover(UntilBodyEnd).build().unwrap();
    let router = Router::new().route("/first", get(hangs).layer(first)).route("/whole", get(hangs).layer(whole));
    let get = |path| router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap());
    assert_eq!(get("/first").await.unwrap().status(), StatusCode::GATEWAY_TIMEOUT);
    let whole = get("/whole").await.unwrap();
    assert_eq!(whole.status(), StatusCode::OK);
    let error = axum::body::to_bytes(whole.into_body(), 10).await.unwrap_err();
    assert!(Rejection::in_error(ErrorRef::new(&error)).is_some_and(|rejection| rejection.reason() == Reason::TIMEOUT));
}

#[tokio::test(start_paused = true)]
async fn a_handler_under_the_deadline_knows_how_much_time_is_left_also_in_its_own_calls() {
    async fn asks_another() -> String {
        sleep(LIMIT / 2).await;
        let client =
            service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(format!("{:?}", time_left()))) });
        let client = TimeoutLayer::new(name!("upstream")).layer(client);
        format!("{:?}, {}", time_left(), client.oneshot(Request::new(())).await.unwrap().body())
    }
    let app = Router::new().route("/", get(asks_another)).layer(edge());
    let response = app.oneshot(Request::get("/").body(Body::empty()).unwrap()).await.unwrap();
    let body = axum::body::to_bytes(response.into_body(), 100).await.unwrap();
    assert_eq!(body, "Some(50ms), Some(50ms)");
}

#[test]
fn they_show_themselves() {
    let (edge, propagate) = (edge(), PropagateDeadlineLayer::new(name!("p")));
    assert_eq!(format!("{edge:?}"), r#"DeadlineLayer { name: "edge", limit: 100ms, trust: [], .. }"#);
    assert_eq!(format!("{propagate:?}"), r#"PropagateDeadlineLayer { name: "p", margin: 10ms, send: [], .. }"#);
    let inner = service_fn(|_: Request<()>| async { Ok::<_, Infallible>(Response::new(())) });
    assert!(format!("{:?}", edge.layer(inner).call(Request::new(()))).starts_with("DeadlineFuture"));
    assert!(format!("{:?}", propagate.layer(inner).call(Request::new(()))).starts_with("PropagateDeadlineFuture"));
}

#[test]
fn it_shows_itself_whatever_the_strategy_is() {
    let builder = TimeoutLayer::builder("upstream").limit(LIMIT).plain();
    let layer = builder.reject_with(|_: Rejection| Err::<u8, _>("late")).build().unwrap();
    assert_eq!(format!("{layer:?}"), r#"TimeoutLayer { name: "upstream", limit: 100ms, .. }"#);
    let mut service = layer.layer(service_fn(|(): ()| async { Ok::<u8, &str>(1) }));
    let future: TimeoutFuture<_, _, _> = service.call(());
    assert!(format!("{future:?}").starts_with("TimeoutFuture"));
}

#[test]
fn it_gives_back_what_it_wraps() {
    let mut service: Timeout<u8> = layer().layer(1);
    assert_eq!(*service.get_ref(), 1);
    *service.get_mut() = 2;
    assert_eq!(service.into_inner(), 2);

    let mut service = edge().layer(1);
    assert_eq!(*service.get_ref(), 1);
    *service.get_mut() = 2;
    assert_eq!(service.into_inner(), 2);

    let mut service = PropagateDeadlineLayer::new(name!("p")).layer(1);
    assert_eq!(*service.get_ref(), 1);
    *service.get_mut() = 2;
    assert_eq!(service.into_inner(), 2);
}
