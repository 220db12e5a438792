//! The layer compiles and behaves where people put it.

use std::{cell::Cell, future::pending, rc::Rc};

use axum::{Router, body::Body, handler::Handler, response::IntoResponse, routing::get};
use backstop_core::{Deadline, Scope, SetBy};
use backstop_degradation_header::{DegradationHeader, DegradationHeaderBuilder, DegradationHeaderLayer};
use tower::{BoxError, Service, ServiceBuilder, limit::ConcurrencyLimit};

use super::*;

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<DegradationHeaderLayer>();
    is_shared::<DegradationHeaderBuilder>();
    is_shared::<DegradationHeader<axum::routing::Route>>();
};

fn is_send<T: Send>(_: &T) {}

fn is_infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
    service
}

async fn degraded() -> impl IntoResponse {
    tokio::task::yield_now().await;
    scope::report(from(name!("cached"), Freshness::Degraded));
    "[]"
}

#[tokio::test]
async fn it_works_in_every_place_of_an_axum_router() {
    let layer = DegradationHeaderLayer::new;
    let routes = || Router::new().route("/", get(degraded));
    for router in [
        routes().layer(layer()),
        routes().route_layer(layer()),
        Router::new().route("/", get(degraded.layer(layer()))),
        Router::new().route("/", get(degraded).layer(layer())),
        routes().layer(ServiceBuilder::new().layer(layer()).layer(layer())),
    ] {
        let response = is_infallible(router).oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(source(response.headers()), some("cached"));
        assert_eq!(field(response.headers(), "cache-control"), some("no-store"));
    }
}

#[tokio::test]
async fn over_a_concurrency_limit_the_service_that_was_ready_is_called() {
    let service = service_fn(|(): ()| async {
        tokio::task::yield_now().await;
        scope::report(from(name!("cached"), Freshness::Degraded));
        Ok::<_, Infallible>(response(&[]))
    });
    let service = DegradationHeaderLayer::new().layer(ConcurrencyLimit::new(service, 1));
    let (one, two) = tokio::join!(service.clone().oneshot(()), service.oneshot(()));
    for response in [one, two] {
        assert_eq!(source(response.unwrap().headers()), some("cached"));
    }
}

#[tokio::test]
async fn over_a_buffer_reports_of_the_polled_future_and_the_extension_count() {
    for reported in [true, false] {
        let service = service_fn(move |(): ()| async move {
            let record = from(name!("cached"), Freshness::Degraded);
            let mut response = response(&[]);
            if reported {
                scope::report(record);
            } else {
                response.extensions_mut().insert(record);
            }
            Ok::<_, BoxError>(response)
        });
        let service = ServiceBuilder::new().layer(DegradationHeaderLayer::new()).buffer(1).service(service);
        assert_eq!(source(service.oneshot(()).await.unwrap().headers()), some("cached"));
    }
}

#[tokio::test]
async fn neither_service_nor_request_need_be_clone_or_send_and_the_body_may_be_anything() {
    struct Opaque;

    let calls = Rc::new(Cell::new(0));
    let calls_inside = Rc::clone(&calls);
    let mut service = DegradationHeaderLayer::new().layer(service_fn(move |_: Rc<()>| {
        calls_inside.set(calls_inside.get() + 1);
        async { Ok::<_, Opaque>(Response::new(Opaque)) }
    }));
    let future = service.call(Rc::new(()));
    is_send(&future);
    assert!(future.await.is_ok());
    assert_eq!(calls.get(), 1);
}

#[tokio::test]
async fn what_is_reported_before_the_first_poll_counts() {
    let service = DegradationHeaderLayer::new().layer(service_fn(|(): ()| {
        scope::report(from(name!("cached"), Freshness::Degraded));
        std::future::ready(Ok::<_, Infallible>(response(&[])))
    }));
    assert_eq!(source(service.oneshot(()).await.unwrap().headers()), some("cached"));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_outside_is_known_inside() {
    let mut outside = Scope::narrowed(Deadline::after(Duration::from_secs(3), SetBy::Caller));
    let mut service = DegradationHeaderLayer::new().layer(service_fn(|(): ()| {
        assert_eq!(scope::time_left(), Some(Duration::from_secs(3)), "in the call");
        async {
            assert_eq!(scope::time_left(), Some(Duration::from_secs(3)), "while polled");
            Ok::<_, Infallible>(response(&[]))
        }
    }));
    let future = outside.enter(|| service.call(()));
    assert!(future.await.is_ok());
}

#[tokio::test]
async fn a_call_that_the_caller_drops_gives_back_what_it_held_and_its_reports_are_lost() {
    let limited = ConcurrencyLimit::new(
        service_fn(|hang: bool| async move {
            if hang {
                scope::report(from(name!("cached"), Freshness::Degraded));
                pending::<()>().await;
            }
            Ok::<_, Infallible>(response(&[]))
        }),
        1,
    );
    let service = DegradationHeaderLayer::new().layer(limited);
    let mut hung = tokio_test::task::spawn(service.clone().oneshot(true));
    tokio_test::assert_pending!(hung.poll());
    let mut waiting = tokio_test::task::spawn(service.clone().oneshot(false));
    tokio_test::assert_pending!(waiting.poll());
    drop(hung);
    assert!(waiting.is_woken());
    let response = tokio_test::assert_ready!(waiting.poll()).unwrap();
    assert_eq!(source(response.headers()), None);
}

#[test]
fn it_gives_back_what_it_wraps() {
    let mut service = DegradationHeaderLayer::new().layer(1);
    assert_eq!(*service.get_ref(), 1);
    *service.get_mut() = 2;
    assert_eq!(service.into_inner(), 2);
}
