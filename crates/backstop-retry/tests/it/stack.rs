//! In the stacks that it is used in.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::support::{self, BoxError, Upstream, get, ml, response, with_body, with_method};
use axum::{
    Router,
    body::Body,
    handler::Handler,
    routing::{get as on_get, post as on_post},
};
use backstop_retry::{Retry, RetryLayer};
use http::{Request, Response, StatusCode};
use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok};
use tower::{
    BoxError as TowerError, Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer,
    limit::ConcurrencyLimitLayer, service_fn,
};
use tower_test::mock;

fn assert_fits<T: Clone + Send + Sync>(_: &T) {}

/// Fails once, then answers.
fn flaky() -> Upstream {
    Upstream::statuses([503, 200])
}

#[test]
fn layers_and_services_go_wherever_their_inner_service_goes() {
    let layer = RetryLayer::new(ml());
    assert_fits(&layer);
    assert_fits(&layer.layer(flaky()));
    let _: &Upstream = layer.layer(flaky()).get_ref();
    fn assert_send<T: Send>(_: &T) {}
    assert_send(&layer.layer(flaky()).oneshot(get()));
    assert_send(&layer.layer(service_fn(|_: Request<Body>| async { Ok::<_, Infallible>(response(200)) })).call(get()));
}

/// A scripted service panics unless it is called as often as it was ready, and no clone of it passes for ready.
#[tokio::test(start_paused = true)]
async fn the_service_that_was_ready_is_the_one_that_is_called() {
    let upstream = Upstream::statuses([503]);
    let mut service = RetryLayer::new(ml()).layer(upstream.clone());
    for calls in [3, 6] {
        service.ready().await.unwrap().call(get()).await.unwrap();
        assert_eq!(upstream.calls(), calls);
    }
}

#[tokio::test(start_paused = true)]
async fn over_a_concurrency_limit_each_attempt_takes_a_permit_and_gives_it_back_before_it_waits() {
    let upstream = Upstream::statuses([503]);
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new(ml()))
        .layer(ConcurrencyLimitLayer::new(1))
        .service(upstream.clone());
    let (a, b) = tokio::join!(service.clone().oneshot(get()), service.clone().oneshot(get()));
    assert_eq!(
        (a.unwrap().status(), b.unwrap().status()),
        (StatusCode::SERVICE_UNAVAILABLE, StatusCode::SERVICE_UNAVAILABLE)
    );
    assert_eq!(upstream.calls(), 6);
    assert!(service.oneshot(get()).await.is_ok(), "no permit was lost");
}

#[tokio::test(start_paused = true)]
async fn it_works_over_a_buffer_and_under_one() {
    let over = ServiceBuilder::new().layer(RetryLayer::new(ml())).layer(BufferLayer::new(1)).service(flaky());
    assert_eq!(over.oneshot(get()).await.unwrap().status(), StatusCode::OK);
    let under = ServiceBuilder::new().layer(BufferLayer::new(1)).layer(RetryLayer::new(ml())).service(flaky());
    assert_eq!(under.oneshot(get()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn readiness_is_the_inner_services_own() {
    let (mut service, mut handle) =
        mock::spawn_layer::<Request<Body>, Response<Body>, RetryLayer>(RetryLayer::new(ml()));
    handle.allow(0);
    assert_pending!(service.poll_ready());
    handle.allow(1);
    assert_ready_ok!(service.poll_ready());
    let call = service.call(get());
    handle.next_request().await.unwrap().1.send_response(response(200));
    assert_eq!(call.await.unwrap().status(), StatusCode::OK);
    handle.send_error("closed");
    assert_eq!(assert_ready_err!(service.poll_ready()).to_string(), "closed");
}

#[tokio::test(start_paused = true)]
async fn a_later_attempt_is_made_ready_before_it_is_called() {
    let (service, mut handle) = mock::pair::<Request<Body>, Response<Body>>();
    handle.allow(1);
    let answered = RetryLayer::new(ml()).layer(service).oneshot(get());
    let upstream = async {
        handle.next_request().await.unwrap().1.send_response(response(503));
        tokio::time::sleep(support::ms(5000)).await;
        handle.allow(1);
        handle.next_request().await.unwrap().1.send_response(response(200));
    };
    let begun = tokio::time::Instant::now();
    let (answer, ()) = tokio::join!(answered, upstream);
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
    assert_eq!(begun.elapsed(), support::ms(5000));
}

fn counting(calls: &Arc<AtomicU32>) -> impl Fn() -> std::future::Ready<StatusCode> + Clone + Send + Sync + 'static {
    let calls = Arc::clone(calls);
    move || {
        let n = calls.fetch_add(1, Ordering::Relaxed);
        std::future::ready(if n == 0 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK })
    }
}

#[tokio::test(start_paused = true)]
async fn it_fits_everywhere_in_a_router_without_type_annotations() {
    let layer = || RetryLayer::new(ml());
    let calls: Arc<AtomicU32> = Arc::default();
    let handler = || counting(&calls);
    let routers = [
        Router::new().route("/", on_get(handler())).layer(layer()),
        Router::new().route("/", on_get(handler())).route_layer(layer()),
        Router::new().route("/", on_get(handler()).layer(layer())),
        Router::new().route("/", on_get(handler().layer(layer()))),
        Router::new().route("/", on_get(handler())).layer(ServiceBuilder::new().layer(layer())),
    ];
    for router in routers {
        calls.store(0, Ordering::Relaxed);
        assert_eq!(router.oneshot(get()).await.unwrap().status(), StatusCode::OK);
        assert_eq!(calls.load(Ordering::Relaxed), 2);
    }
    calls.store(0, Ordering::Relaxed);
    let posts = Router::new().route("/", on_post(handler())).layer(layer());
    let answer = posts.oneshot(with_method(http::Method::POST)).await.unwrap();
    assert_eq!((answer.status(), calls.load(Ordering::Relaxed)), (StatusCode::SERVICE_UNAVAILABLE, 1));
}

#[tokio::test(start_paused = true)]
async fn an_infallible_stack_stays_infallible() {
    let service = RetryLayer::new(ml()).layer(flaky());
    let Ok::<_, Infallible>(answer) = service.oneshot(get()).await;
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "what is tested is that users may")]
async fn it_can_be_spawned_whatever_the_error_type() {
    let infallible = RetryLayer::new(ml()).layer(flaky());
    let boxed = RetryLayer::new(ml()).layer(Upstream::<BoxError>::new(|n, _| async move {
        if n == 1 { Err("reset".into()) } else { Ok(response(200)) }
    }));
    assert!(tokio::spawn(async move { infallible.oneshot(get()).await }).await.unwrap().is_ok());
    assert!(tokio::spawn(boxed.oneshot(get())).await.unwrap().is_ok());
    let erased = tower::util::BoxCloneSyncService::new(RetryLayer::new(ml()).layer(flaky()));
    assert!(tokio::spawn(async move { erased.oneshot(get()).await }).await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_can_not_be_kept_or_sent_has_its_strategies() {
    // A body that nothing can be put into, as `Incoming` is.
    type Plain = http_body_util::Full<bytes::Bytes>;
    let service = service_fn(|_: Request<Plain>| async { Ok::<_, TowerError>(Response::new(Plain::default())) });
    let layer = RetryLayer::builder("ml").discard_replaced().build().unwrap();
    assert!(layer.layer(service).oneshot(Request::new(Plain::default())).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_users_name_can_be_named() {
    type Stack = Retry<Upstream>;
    let service: Stack = RetryLayer::new(ml()).layer(Upstream::new(|_, _| async { Ok(with_body(200, "well")) }));
    let mut inner = service.into_inner();
    assert!(inner.ready().await.unwrap().call(get()).await.is_ok());
}
