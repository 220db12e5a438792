//! Whatever becomes of a call, its permit comes back, and counts as what it says of the service.

#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    convert::Infallible,
    future::{pending, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use backstop_circuit_breaker::{
    CircuitBreakerBuilder, CircuitBreakerHandle, CircuitBreakerLayer, CircuitState, OnDrop, Rejection,
};
use backstop_core::{
    SetBy,
    scope::{self, EndedBy},
};
use http::{Request, Response};
use tokio::time::{Instant, advance, sleep, timeout};
use tokio_test::{assert_pending, assert_ready, task};
use tower::{Layer, Service, ServiceExt, service_fn};

use CircuitState::{Closed, HalfOpen, Open};

const WAIT: Duration = Duration::from_secs(60);
const LEASE: Duration = Duration::from_secs(30);
const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Response<()>, Infallible>;

fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(1).success_threshold(1)
}

/// A layer whose circuit has just opened.
fn opened(builder: CircuitBreakerBuilder) -> (CircuitBreakerLayer, CircuitBreakerHandle) {
    let layer = builder.build().unwrap();
    let handle = layer.handle();
    let call = hung(&layer);
    scope::end(SetBy::Us, || drop(call));
    assert_eq!(handle.state(), Open);
    (layer, handle)
}

/// A call that hangs, and has been polled.
fn hung(layer: &CircuitBreakerLayer) -> task::Spawn<impl Future<Output = Answer> + use<>> {
    let mut call = task::spawn(layer.layer(service_fn(|_: Request<()>| pending::<Answer>())).call(Request::new(())));
    assert_pending!(call.poll());
    call
}

async fn succeed(layer: &CircuitBreakerLayer) -> Response<()> {
    layer
        .layer(service_fn(|_: Request<()>| ready(Answer::Ok(Response::default()))))
        .oneshot(Request::new(()))
        .await
        .unwrap()
}

fn is_refused(response: &Response<()>) -> bool {
    response.extensions().get::<Rejection>().is_some()
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_that_one_of_our_timers_ends_is_a_failure() {
    for on_drop in [OnDrop::Ignore, OnDrop::Failure, OnDrop::FailureAfter(SECOND)] {
        let layer = builder().on_drop(on_drop).build().unwrap();
        let call = hung(&layer);
        scope::end(SetBy::Us, || drop(call));
        assert_eq!(layer.handle().state(), Open);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_the_callers_own_deadline_ends_or_that_was_replaced_says_nothing() {
    for on_drop in [OnDrop::Ignore, OnDrop::Failure, OnDrop::FailureAfter(SECOND)] {
        for ended_by in [EndedBy::CallersLimit, EndedBy::Replaced] {
            let layer = builder().on_drop(on_drop).build().unwrap();
            let call = hung(&layer);
            advance(WAIT).await;
            scope::end(ended_by, || drop(call));
            assert_eq!((layer.handle().state(), layer.handle().counts().failures), (Closed, 0));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn hung_calls_that_a_timeout_further_out_cancels_open_the_circuit() {
    let layer = CircuitBreakerLayer::builder("upstream").build().unwrap();
    for _ in 0..5 {
        assert_eq!(layer.handle().state(), Closed);
        timeout(5 * SECOND, hung(&layer)).await.unwrap_err();
    }
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn a_callers_absurdly_short_timeout_opens_nothing() {
    let layer = builder().build().unwrap();
    for _ in 0..50 {
        timeout(Duration::from_millis(1), hung(&layer)).await.unwrap_err();
    }
    timeout(Duration::from_millis(4_999), hung(&layer)).await.unwrap_err();
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn dropping_counts_as_it_was_configured() {
    for (on_drop, state) in
        [(OnDrop::Ignore, Closed), (OnDrop::Failure, Open), (OnDrop::FailureAfter(2 * SECOND), Closed)]
    {
        let layer = builder().on_drop(on_drop).build().unwrap();
        timeout(SECOND, hung(&layer)).await.unwrap_err();
        assert_eq!(layer.handle().state(), state, "{on_drop:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_never_polled_has_waited_for_nothing() {
    let layer = builder().build().unwrap();
    let call = layer.layer(service_fn(|_: Request<()>| pending::<Answer>())).call(Request::new(()));
    advance(WAIT).await;
    drop(call);
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_answered_counts_once() {
    let layer = builder().on_drop(OnDrop::Failure).build().unwrap();
    let answers = service_fn(|_: Request<()>| ready(Answer::Ok(Response::default())));
    let mut call = task::spawn(layer.layer(answers).call(Request::new(())));
    _ = assert_ready!(call.poll());
    drop(call);
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_panics_is_a_failure_whoever_catches_the_panic() {
    fn panics() -> Answer {
        panic!("on purpose")
    }
    let builder = || builder().on_drop(OnDrop::Ignore);

    // While it is being made, and the panic goes all the way.
    let layer = builder().build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<()>| ready(panics())));
    catch_unwind(AssertUnwindSafe(|| service.call(Request::new(())))).map(drop).unwrap_err();
    assert_eq!(layer.handle().state(), Open);

    // While it is polled, where the panic is caught before the future is dropped.
    let layer = builder().build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<()>| async {
        sleep(SECOND).await;
        panics()
    }));
    let mut call = task::spawn(service.call(Request::new(())));
    assert_pending!(call.poll());
    advance(2 * SECOND).await;
    catch_unwind(AssertUnwindSafe(|| call.poll())).map(drop).unwrap_err();
    drop(call);
    assert_eq!(layer.handle().state(), Open);
}

#[tokio::test(start_paused = true)]
async fn a_panic_elsewhere_is_not_the_services_failure() {
    let layer = builder().build().unwrap();
    let call = hung(&layer);
    catch_unwind(AssertUnwindSafe(|| {
        let _call = call;
        panic!("on purpose");
    }))
    .unwrap_err();
    assert_eq!(layer.handle().state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_permit_back() {
    let (layer, handle) = opened(builder());
    advance(WAIT).await;
    let probe = hung(&layer);
    assert!(is_refused(&succeed(&layer).await));
    drop(probe);
    assert_eq!((handle.state(), handle.counts().probes), (HalfOpen, 0));
    assert!(!is_refused(&succeed(&layer).await));
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_after_it_hung_opens_again() {
    let (layer, handle) = opened(builder());
    advance(WAIT).await;
    timeout(5 * SECOND, hung(&layer)).await.unwrap_err();
    assert_eq!((handle.state(), handle.remaining_wait()), (Open, Some(WAIT)));
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_never_ends_does_not_wedge_the_circuit() {
    let (layer, handle) = opened(builder());
    advance(WAIT).await;
    let _for_ever = hung(&layer);
    advance(LEASE - SECOND).await;
    assert!(is_refused(&succeed(&layer).await));
    advance(SECOND).await;
    let _leaked = std::mem::ManuallyDrop::new(hung(&layer));
    assert!(is_refused(&succeed(&layer).await));
    advance(LEASE).await;
    assert!(!is_refused(&succeed(&layer).await));
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_from_before_the_trip_that_is_dropped_later_counts_nowhere() {
    let layer = builder().on_drop(OnDrop::Failure).build().unwrap();
    let handle = layer.handle();
    let (first, second, third) = (hung(&layer), hung(&layer), hung(&layer));
    drop(first);
    assert_eq!(handle.state(), Open);
    advance(SECOND).await;
    drop(second);
    assert_eq!(handle.remaining_wait(), Some(WAIT - SECOND));
    advance(WAIT).await;
    succeed(&layer).await;
    drop(third);
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_is_dropped_holds_nothing() {
    let (layer, handle) = opened(builder().on_drop(OnDrop::Failure));
    let mut service = layer.layer(service_fn(|_: Request<()>| pending::<Answer>()));
    let refused = service.ready().await.unwrap().call(Request::new(()));
    advance(WAIT).await;
    drop(refused);
    assert!(!is_refused(&succeed(&layer).await));
    assert_eq!(handle.state(), Closed);
}

#[tokio::test(start_paused = true)]
async fn it_heals_within_wait_and_lease_whatever_was_dropped() {
    let (layer, handle) = opened(builder().max_concurrent_probes(2));
    let started = Instant::now();
    advance(WAIT).await;
    let probes = [hung(&layer), hung(&layer)];
    advance(LEASE).await;
    while handle.state() != Closed {
        succeed(&layer).await;
        assert!(started.elapsed() <= WAIT + LEASE);
        advance(SECOND).await;
    }
    drop(probes);
    assert_eq!((handle.state(), handle.counts().failures), (Closed, 0));
}
