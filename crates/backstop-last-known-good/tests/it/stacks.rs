//! The layer compiles and behaves where people put it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    cell::Cell,
    convert::Infallible,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use backstop_last_known_good::{
    LastKnownGood, LastKnownGoodBuilder, LastKnownGoodHandle, LastKnownGoodLayer, MokaStore, NotStored, WrapBody, name,
};
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, Full, combinators::UnsyncBoxBody};
use tower::{BoxError, Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_test::mock;

use crate::support::{self, body_of};

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<LastKnownGoodLayer>();
    is_shared::<LastKnownGoodBuilder>();
    is_shared::<LastKnownGoodHandle>();
    is_shared::<MokaStore>();
    is_shared::<LastKnownGood<axum::routing::Route>>();
};

fn is_send<T: Send>(_: &T) {}

fn is_infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
    service
}

fn asked(path: &str) -> Request<Body> {
    support::get(path, &[])
}

#[tokio::test(start_paused = true)]
async fn all_routes_of_a_router_store_in_the_layer_that_is_above_them() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let app: Router =
        Router::new().route("/a", get(|| async { "a" })).route("/b", get(|| async { "b" })).layer(layer.clone());
    for path in ["/a", "/b"] {
        let answer = app.clone().oneshot(asked(path)).await.unwrap();
        answer.into_body().collect().await.unwrap();
    }
    assert_eq!(body_of(&layer, asked("/a")).await.unwrap(), "a");
    assert_eq!(body_of(&layer, asked("/b")).await.unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let answers = || service_fn(|_: Request<Body>| async { Ok::<_, BoxError>(Response::new(Body::from("x"))) });
    let limited = ServiceBuilder::new().layer(layer.clone()).concurrency_limit(1).service(answers());
    let buffered = ServiceBuilder::new().layer(layer.clone()).buffer(1).concurrency_limit(1).service(answers());
    for _ in 0..3 {
        limited.clone().oneshot(asked("/")).await.unwrap();
        buffered.clone().oneshot(asked("/")).await.unwrap();
    }
    is_infallible(layer.layer(service_fn(|_: Request<Body>| async { Ok(Response::new(Body::empty())) })));
}

#[tokio::test(start_paused = true)]
async fn readiness_and_its_errors_are_those_of_the_inner_service() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    let (inner, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    let mut service = tokio_test::task::spawn(layer.layer(inner));
    handle.allow(0);
    assert!(service.enter(|cx, mut service| service.poll_ready(cx)).is_pending());
    handle.allow(1);
    assert!(service.enter(|cx, mut service| service.poll_ready(cx)).is_ready());
    let call = service.call(asked("/"));
    is_send(&call);
    let (_, send) = handle.next_request().await.unwrap();
    send.send_error("broken");
    assert_eq!(call.await.unwrap_err().to_string(), "broken");
    handle.send_error("closed");
    let ready = service.enter(|cx, mut service| service.poll_ready(cx));
    assert!(matches!(ready, Poll::Ready(Err(_))));
}

#[tokio::test(start_paused = true)]
async fn boxed_bodies_and_requests_of_any_body_will_do() {
    /// Neither `Clone` nor `Sync`.
    struct Once(PhantomData<Cell<()>>);
    impl http_body::Body for Once {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(None)
        }

        fn is_end_stream(&self) -> bool {
            true
        }
    }
    let layer = LastKnownGoodLayer::builder("shop").principal(|_| None::<&str>).build().unwrap();
    let primary = service_fn(|_: Request<Once>| async {
        let body = UnsyncBoxBody::<Bytes, BoxError>::new(Full::from("x").map_err(|never| match never {}));
        Ok::<_, BoxError>(Response::new(body))
    });
    let answer = layer.layer(primary).oneshot(Request::get("/").body(Once(PhantomData)).unwrap()).await.unwrap();
    answer.into_body().collect().await.unwrap();
    let head = Request::get("/").body(()).unwrap().into_parts().0;
    let known = layer.handle().answer::<UnsyncBoxBody<Bytes, BoxError>>(head).await.unwrap();
    let answer = known.into_value();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), "x");
}

#[tokio::test]
async fn a_layer_may_be_made_outside_of_the_runtime_and_of_paused_time() {
    let layer = std::thread::spawn(|| LastKnownGoodLayer::new(name!("shop"))).join().unwrap();
    tokio::time::pause();
    support::send(&layer, asked("/"), support::response(200, &[], "x")).await;
    tokio::time::advance(Duration::from_secs(90)).await;
    let known = support::stored(&layer, asked("/")).await.unwrap();
    assert_eq!(known.age, 90);
    assert_eq!(support::stored(&layer, asked("/none")).await, Err(NotStored::Missing));
}

#[test]
fn bodies_that_can_be_wrapped_are_named() {
    const fn wraps<B: WrapBody>() {}
    wraps::<Body>();
}
