//! The layer compiles and behaves where people put it.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    cell::Cell,
    convert::Infallible,
    future::{pending, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Waker},
};

use crate::support::{is_full, room_for};
use axum::{
    Router,
    body::Body,
    handler::Handler,
    routing::{get, get_service},
};
use backstop_bulkhead::{
    Bulkhead, BulkheadBuilder, BulkheadFuture, BulkheadHandle, BulkheadLayer, HttpReject, RejectAsError, Rejection,
    UntilHeaders,
};
use backstop_test::{Scripted, Step};
use http::{Request, Response, StatusCode};
use tokio::sync::Semaphore;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{
    BoxError, Layer, Service, ServiceBuilder, ServiceExt, buffer::BufferLayer, limit::ConcurrencyLimit, service_fn,
};

const fn is_shared<T: Clone + Send + Sync + 'static>() {}

const _: () = {
    is_shared::<BulkheadLayer>();
    is_shared::<BulkheadLayer<RejectAsError, UntilHeaders>>();
    is_shared::<BulkheadBuilder>();
    is_shared::<BulkheadHandle>();
    is_shared::<Bulkhead<axum::routing::Route>>();
};

const fn is_send<T: Send>(_: &T) {}

fn is_infallible<S: Service<Request<Body>, Error = Infallible>>(service: S) -> S {
    service
}

async fn hangs() -> &'static str {
    pending().await
}

async fn quick() -> &'static str {
    "well"
}

#[tokio::test(start_paused = true)]
async fn it_bounds_the_calls_in_every_place_of_an_axum_router() {
    fn routes() -> Router {
        Router::new().route("/hangs", get(hangs)).route("/quick", get(quick))
    }

    let places: [fn(BulkheadLayer) -> Router; 5] = [
        |layer| routes().layer(layer),
        |layer| routes().route_layer(layer),
        |layer| Router::new().route("/hangs", get(hangs.layer(layer.clone()))).route("/quick", get(quick.layer(layer))),
        |layer| {
            let hangs = get_service(layer.layer(get(hangs)));
            Router::new().route("/hangs", hangs).route("/quick", get_service(layer.layer(get(quick))))
        },
        |layer| routes().layer(ServiceBuilder::new().layer(layer).layer(room_for(9, 9))),
    ];
    for place in places {
        let layer = room_for(1, 0);
        let router = is_infallible(place(layer.clone()));
        let get = |path| task::spawn(router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()));
        let mut hung = get("/hangs");
        assert_pending!(hung.poll());
        assert!(is_full(&get("/quick").await.unwrap()), "one bulkhead for all routes");
        drop(hung);
        let well = get("/quick").await.unwrap();
        assert_eq!((well.status(), layer.handle().in_use()), (StatusCode::OK, 1), "to the end of the body");
        assert_eq!(axum::body::to_bytes(well.into_body(), 99).await.unwrap(), "well");
        assert_eq!(layer.handle().in_use(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn the_future_is_send_where_the_inner_one_is_whatever_the_service_and_the_request_are() {
    let calls = Rc::new(Cell::new(0));
    let layer = BulkheadLayer::builder("upstream").until_headers().build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<Rc<()>>| {
        calls.set(calls.get() + 1);
        ready(Ok::<_, Infallible>(Response::new(())))
    }));
    let future: BulkheadFuture<_, Request<Rc<()>>, HttpReject, UntilHeaders> = service.call(Request::new(Rc::new(())));
    assert!(future.await.is_ok());
    assert_eq!(calls.get(), 1);

    let mut service =
        room_for(1, 1).layer(service_fn(|_: Request<Body>| ready(Ok::<_, Infallible>(Response::new(Body::empty())))));
    is_send(&service.call(Request::new(Body::empty())));
}

#[tokio::test(start_paused = true)]
async fn services_that_do_not_speak_http_reject_in_their_own_way() {
    let builder = || BulkheadLayer::builder("queue").max_concurrent(1).max_waiting(0).until_headers();
    let queue = service_fn(|_: u32| pending::<Result<u64, BoxError>>());

    let layer = builder().reject_as_error().build().unwrap();
    let mut running = task::spawn(layer.layer(queue).oneshot(1));
    assert_pending!(running.poll());
    let error = layer.layer(queue).oneshot(2).await.unwrap_err();
    assert_eq!(error.downcast_ref::<Rejection>().unwrap().to_string(), "bulkhead queue is full");

    let layer = builder().reject_with(|_| Ok::<u64, BoxError>(0)).build().unwrap();
    let mut running = task::spawn(layer.layer(queue).oneshot(1));
    assert_pending!(running.poll());
    assert_eq!(layer.layer(queue).oneshot(2).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_is_always_ready_and_asks_the_service_only_when_there_is_room() {
    let inner = Scripted::<_, Response<Body>, Infallible>::steps([Step::hang()]);
    let mut service = room_for(1, 1).layer(inner.clone());
    let mut futures: Vec<_> = std::iter::repeat_with(|| {
        assert!(service.poll_ready(&mut Context::from_waker(Waker::noop())).is_ready());
        task::spawn(service.call(Request::new(Body::empty())))
    })
    .take(3)
    .collect();
    assert_eq!(inner.readiness_polls(), 1, "the first was called at once");
    assert_pending!(futures[0].poll());
    assert_pending!(futures[1].poll());
    assert!(is_full(&assert_ready_ok!(futures[2].poll())));
    assert_eq!(inner.readiness_polls(), 1, "neither who waits nor who is refused has asked");
}

#[tokio::test(start_paused = true)]
async fn over_and_under_a_buffer_and_a_limit_it_refuses_and_recovers() {
    let gate = Arc::new(Semaphore::new(0));
    let slow = {
        let gate = Arc::clone(&gate);
        service_fn(move |_: Request<Body>| {
            let gate = Arc::clone(&gate);
            async move {
                gate.acquire().await.unwrap().forget();
                Ok::<_, Infallible>(Response::new(Body::empty()))
            }
        })
    };
    let layer = BulkheadLayer::builder("upstream").max_concurrent(2).max_waiting(0).reject_as_error().build().unwrap();
    let stack = ServiceBuilder::new()
        .layer(BufferLayer::new(8))
        .layer(layer.clone())
        .layer(BufferLayer::new(8))
        .map_err(|error: Infallible| match error {})
        .service(ConcurrencyLimit::new(slow, 2));
    for round in 0..3 {
        let mut calls: Vec<_> =
            (0..2).map(|_| task::spawn(stack.clone().oneshot(Request::new(Body::empty())))).collect();
        for call in &mut calls {
            // The workers of the buffers take their turns.
            for _ in 0..9 {
                assert_pending!(call.poll());
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(layer.handle().in_use(), 2, "round {round}");
        let refused = stack.clone().oneshot(Request::new(Body::empty())).await.unwrap_err();
        assert!(refused.is::<Rejection>(), "the buffer still works: {refused}");
        gate.add_permits(2);
        for call in calls {
            assert_eq!(call.await.unwrap().status(), StatusCode::OK);
        }
        assert_eq!(layer.handle().in_use(), 0);
    }
}
