//! What the rate limit does, in paused time.
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use backstop_admin::Inventory;
use backstop_core::{ErrorRef, Inspect, Outcome, Pushback, Rejection, Value, name};
use backstop_kit::proof::Frame;
use backstop_test::Scripted;
use custom_layer::{RATE_LIMITED, RateLimitLayer};
use http::{Request, Response, StatusCode};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};
use tower::{Layer, Service, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const SECOND: Duration = Duration::from_secs(1);

fn limit(rate: u32, burst: u32) -> RateLimitLayer {
    RateLimitLayer::per_second(name!("search"), rate, burst).unwrap()
}

fn upstream() -> Scripted<Request<()>, Response<()>> {
    Scripted::statuses([200])
}

/// How many calls are answered until one is refused.
async fn answered<S>(service: &S) -> usize
where
    S: Service<Request<()>, Response = Response<()>, Error: std::fmt::Debug> + Clone,
{
    let mut count = 0;
    while service.clone().oneshot(Request::new(())).await.unwrap().status() == StatusCode::OK {
        count += 1;
    }
    count
}

#[tokio::test(start_paused = true)]
async fn a_burst_passes_and_then_as_many_calls_as_the_rate_allows() {
    let service = limit(4, 10).layer(upstream());
    assert_eq!(answered(&service).await, 10);
    advance(SECOND).await;
    assert_eq!(answered(&service).await, 4);
    advance(SECOND / 4 - Duration::from_nanos(1)).await;
    assert_eq!(answered(&service).await, 0);
    advance(Duration::from_nanos(1)).await;
    assert_eq!(answered(&service).await, 1);
    advance(3600 * SECOND).await;
    assert_eq!(answered(&service).await, 10, "no more than a burst is saved");
}

#[tokio::test(start_paused = true)]
async fn a_rate_that_divides_no_second_is_not_exceeded() {
    let service = limit(3, 1).layer(upstream());
    assert_eq!(answered(&service).await, 1);
    advance(SECOND / 3).await;
    assert_eq!(answered(&service).await, 0, "a third of a second is rounded down, and the wait for a token up");
    advance(Duration::from_nanos(1)).await;
    assert_eq!(answered(&service).await, 1);
}

#[tokio::test(start_paused = true)]
async fn all_services_of_the_layer_share_its_bucket() {
    let layer = limit(1, 3);
    assert_eq!(answered(&layer.clone().layer(upstream())).await, 3);
    assert_eq!(answered(&layer.layer(upstream())).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_a_response_that_says_when_to_come_back() {
    let (layer, inner) = (limit(1, 2), upstream());
    let service = layer.layer(inner.clone());
    assert_eq!(answered(&service).await, 2);
    advance(SECOND / 4).await;
    let polls = inner.readiness_polls();
    let refusal = service.oneshot(Request::new(())).await.unwrap();
    assert_eq!((inner.calls(), inner.readiness_polls()), (2, polls), "the inner service isn't asked");

    assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refusal.headers()["retry-after"], "1");
    assert_eq!(refusal.headers()["cache-control"], "no-store");
    let rejection = Rejection::in_response(&refusal).unwrap();
    assert_eq!((rejection.by(), rejection.reason()), (&name!("search"), RATE_LIMITED));
    let wait = 3 * SECOND / 4;
    assert_eq!(rejection.outcome(), Outcome::refusal().pushback(Some(Pushback::After(wait))));
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_is_refused_in_its_own_words() {
    let service = limit(1, 1).layer(upstream());
    assert_eq!(answered(&service).await, 1);
    let call = Request::post("/shop.Prices/Get").header("content-type", "application/grpc").body(()).unwrap();
    let refusal = service.oneshot(call).await.unwrap();
    assert_eq!(refusal.status(), StatusCode::OK);
    assert_eq!(refusal.headers()["grpc-status"], "8");
    assert_eq!(refusal.headers()["grpc-retry-pushback-ms"], "1000");
}

#[tokio::test(start_paused = true)]
async fn a_function_is_refused_with_an_error() {
    let function = service_fn(|request: u32| async move { Ok::<_, BoxError>(request + 1) });
    let service = limit(1, 1).reject_as_error().layer(function);
    assert_eq!(service.clone().oneshot(1).await.unwrap(), 2);
    let error = service.oneshot(1).await.unwrap_err();
    assert_eq!(error.to_string(), "search rejected the call: rate-limited");
    let rejection = Rejection::in_error(ErrorRef::new(&error)).unwrap();
    assert_eq!((rejection.reason(), rejection.retry_after()), (RATE_LIMITED, Some(SECOND)));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_proof_that_the_request_was_not_processed_and_an_answer_is_none() {
    let mut service = limit(1, 1).layer(upstream());
    for is_refused in [false, true] {
        assert_ready_ok!(task::spawn(service.ready()).poll());
        let mut frame = Frame::detached();
        let mut call = task::spawn(frame.call(|| service.call(Request::new(()))));
        frame.listen();
        assert_eq!(assert_ready_ok!(call.poll()).status() == StatusCode::TOO_MANY_REQUESTS, is_refused);
        assert_eq!(frame.ended(), is_refused);
    }
}

#[tokio::test(start_paused = true)]
async fn proof_of_the_inner_service_passes_through() {
    let empty = limit(1, 1);
    assert_eq!(answered(&empty.layer(upstream())).await, 1);
    let mut service = limit(1, 1).layer(empty.layer(upstream()));
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let mut frame = Frame::detached();
    let mut call = task::spawn(frame.call(|| service.call(Request::new(()))));
    frame.listen();
    assert_ready_ok!(call.poll());
    assert!(frame.ended());
}

#[tokio::test(start_paused = true)]
async fn calls_that_will_pass_wait_for_the_inner_service_and_others_do_not() {
    let inner = upstream().readiness(|_| Poll::Pending);
    let mut service = limit(1, 1).layer(inner.clone());
    assert!(task::spawn(service.ready()).poll().is_pending());
    // Taken by a call that waits in its future, since the service wasn't ready.
    let mut waiting = task::spawn(service.call(Request::new(())));
    assert_pending!(waiting.poll());
    assert_ready_ok!(task::spawn(service.ready()).poll());
    let refusal = assert_ready_ok!(task::spawn(service.call(Request::new(()))).poll());
    assert_eq!((refusal.status(), inner.calls()), (StatusCode::TOO_MANY_REQUESTS, 0));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_after_poll_ready_is_used_once_the_inner_service_is_ready() {
    let is_ready = Arc::new(AtomicBool::new(true));
    let gate = Arc::clone(&is_ready);
    let inner = upstream().readiness(move |cx| {
        cx.waker().wake_by_ref();
        if gate.load(Relaxed) { Poll::Ready(Ok(())) } else { Poll::Pending }
    });
    let mut service = limit(1, 1).layer(inner);
    assert_eq!(answered(&service).await, 1);
    assert_ready_ok!(task::spawn(service.ready()).poll());
    advance(SECOND).await;
    is_ready.store(false, Relaxed);
    let mut call = task::spawn(service.call(Request::new(())));
    assert_pending!(call.poll());
    is_ready.store(true, Relaxed);
    assert_eq!(assert_ready_ok!(call.poll()).status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_the_bucket() {
    let layer = limit(5, 3);
    let handle = layer.handle();
    let handle: &dyn Inspect = &handle;
    assert_eq!((handle.name(), handle.kind()), (&name!("search"), "rate-limit"));
    assert_eq!(handle.settings(), [("rate", Value::Integer(5)), ("burst", Value::Integer(3))]);
    assert_eq!(handle.state(), [("available", Value::Integer(3)), ("refused", Value::Integer(0))]);
    assert_eq!(answered(&layer.layer(upstream())).await, 3);
    assert_eq!(handle.state(), [("available", Value::Integer(0)), ("refused", Value::Integer(1))]);
}

#[tokio::test(start_paused = true)]
async fn an_inventory_lists_the_limit_beside_all_other_layers_and_counts_it_for_what_it_protects() {
    let layer = limit(5, 3);
    let inventory = Inventory::new().register_for([name!("search-index")], layer.handle());
    let found = inventory.find("rate-limit", "search").unwrap();
    assert_eq!(found.state()[0], ("available", Value::Integer(3)));
    answered(&layer.layer(upstream())).await;
    assert_eq!(found.state()[0], ("available", Value::Integer(0)), "it is live");
    assert_eq!(inventory.by_dependency()[&name!("search-index")][0].kind(), "rate-limit");
    assert_eq!(inventory.audit().dependencies[0].name, "search-index", "which lacks all else");
}

#[test]
fn a_limit_that_lets_nobody_pass_is_refused() {
    let error = |rate, burst| RateLimitLayer::per_second(name!("search"), rate, burst).err().unwrap().to_string();
    assert_eq!(error(0, 1), "rate is 0, allowed is: 1 to 1000000");
    assert_eq!(error(1, 1_000_001), "burst is 1000001, allowed is: 1 to 1000000");
}

#[tokio::test(start_paused = true)]
#[should_panic(expected = "`RateLimitFuture` was polled after it had ended")]
async fn a_future_that_is_polled_again_panics() {
    let mut service = limit(1, 1).layer(upstream());
    assert_eq!(answered(&service).await, 1);
    let mut call = task::spawn(service.call(Request::new(())));
    assert_ready!(call.poll()).unwrap();
    _ = call.poll();
}
