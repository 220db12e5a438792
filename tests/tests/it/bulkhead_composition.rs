//! A bulkhead with the other layers: its refusals don't trip a circuit and aren't retried, time limits include its waits, and a
//! provider can have its own bulkhead.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use backstop::{
    BulkheadHandle, BulkheadLayer, CircuitBreakerLayer, CircuitState, DegradationHeaderLayer, FallbackChain,
    FallbackLayer, Provider, Reason, Rejection, RetryLayer, TimeoutLayer, circuit_breaker::UntilBodyEnd, name,
};
use backstop_tests::http::{get, header, post, read};
use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::Frame;
use tokio::time::{Instant, sleep};
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

fn room_for(running: u32, waiting: u32) -> BulkheadLayer {
    BulkheadLayer::builder("ml_service").max_concurrent(running).max_waiting(waiting).build().unwrap()
}

fn answers(
    answer: &'static str,
) -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {
    service_fn(move |_: Request| async move { Ok(answer.into_response()) })
}

fn hangs()
-> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static {
    service_fn(|_: Request| pending())
}

/// A call that holds a permit until it is dropped.
fn hold(layer: &BulkheadLayer) -> impl Sized + use<> {
    let mut call = task::spawn(layer.layer(hangs()).oneshot(get("/")));
    assert_pending!(call.poll());
    call
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_opens_no_circuit_and_is_not_asked_again() {
    let bulkhead = room_for(1, 0);
    let _held = hold(&bulkhead);
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).build().unwrap();
    let circuit = breaker.handle();
    let stack = ServiceBuilder::new()
        .layer(RetryLayer::new(name!("ml_service")))
        .layer(breaker)
        .layer(bulkhead)
        .service(answers("well"));
    let started = Instant::now();
    let refused = stack.oneshot(get("/")).await.unwrap();
    assert_eq!(refused.extensions().get::<Rejection>().unwrap().reason(), Reason::BULKHEAD_FULL);
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"1".parse().unwrap())
    );
    assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
    assert_eq!(started.elapsed(), Duration::ZERO);
}

/// A body that returns one frame, and then hangs.
struct OneFrame {
    is_given: bool,
}

impl hyper::body::Body for OneFrame {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if std::mem::replace(&mut self.is_given, true) {
            return Poll::Pending;
        }
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"one")))))
    }
}

#[tokio::test(start_paused = true)]
async fn readers_that_idle_and_then_hurry_open_no_circuit_and_a_dependency_that_hangs_does() {
    let breaker = CircuitBreakerLayer::builder("ml_service").observe(UntilBodyEnd).build().unwrap();
    let circuit = breaker.handle();
    let bulkhead = BulkheadLayer::builder("ml_service").max_hold(Duration::from_secs(60)).build().unwrap();
    let hangs_later =
        service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::new(OneFrame { is_given: false }))) });
    let stack = ServiceBuilder::new().layer(breaker).layer(bulkhead).service(hangs_later);
    // Five readers. `max_hold` ends all of their bodies.
    let read_all = async |idle: Duration| {
        for _ in 0..5 {
            let mut body = stack.clone().oneshot(get("/")).await.unwrap().into_body();
            assert!(body.frame().await.unwrap().is_ok());
            sleep(idle).await;
            assert!(body.frame().await.unwrap().is_err());
        }
    };
    read_all(Duration::from_millis(59_500)).await;
    assert_eq!((circuit.state(), circuit.counts().failures), (CircuitState::Closed, 0));
    read_all(Duration::from_millis(500)).await;
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_around_a_primary_is_answered_for_with_its_reason() {
    let bulkhead = room_for(1, 0);
    let _held = hold(&bulkhead);
    let instead = FallbackChain::builder("recommendations")
        .provider(
            Provider::service(name!("replica"), answers("from the replica"))
                .only_when(|reason| reason == Reason::BULKHEAD_FULL),
        )
        .build()
        .unwrap();
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("ml_service"), instead))
        .layer(bulkhead)
        .service(answers("just for you"));
    let (head, body) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, body.as_str()), (StatusCode::OK, "from the replica"));
    assert_eq!(header(&head, "x-fallback-source"), Some("replica"));
}

#[tokio::test(start_paused = true)]
async fn a_provider_has_a_bulkhead_of_its_own_and_the_chain_moves_on_when_it_is_full() {
    let bulkhead = BulkheadLayer::builder("replica").max_concurrent(1).max_waiting(0).build().unwrap();
    let handle: BulkheadHandle = bulkhead.handle();
    let replica = bulkhead.layer(service_fn(|_: Request| async {
        sleep(Duration::from_millis(100)).await;
        Ok::<_, Infallible>("from the replica".into_response())
    }));
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::service(name!("replica"), replica))
        .provider(Provider::service(name!("bestsellers"), answers("the usual")))
        .build()
        .unwrap();
    let down = service_fn(|_: Request| async { Ok::<_, Infallible>(StatusCode::BAD_GATEWAY.into_response()) });
    let stack = ServiceBuilder::new()
        .layer(DegradationHeaderLayer::new())
        .layer(FallbackLayer::new(name!("ml_service"), chain))
        .service(down);
    let ask = async || {
        let (head, body) = read(stack.clone().oneshot(get("/")).await.unwrap()).await;
        (header(&head, "x-fallback-source").unwrap().to_owned(), body)
    };
    let first = ("replica".to_owned(), "from the replica".to_owned());
    let second = ("bestsellers".to_owned(), "the usual".to_owned());
    assert_eq!(tokio::join!(ask(), ask()), (first.clone(), second));
    assert_eq!(handle.in_use(), 0);
    assert_eq!(ask().await, first, "there is room again");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_permit_counts_into_a_retrys_total_and_a_chains() {
    let limit = Duration::from_millis(600);
    let bulkhead =
        BulkheadLayer::builder("ml_service").max_concurrent(1).max_wait(Duration::from_secs(60)).build().unwrap();
    let _held = hold(&bulkhead);

    let started = Instant::now();
    let retry = RetryLayer::builder("ml_service").total(limit).build().unwrap();
    let refused = ServiceBuilder::new()
        .layer(retry)
        .layer(bulkhead.clone())
        .service(answers("well"))
        .oneshot(get("/"))
        .await
        .unwrap();
    assert_eq!((refused.status(), started.elapsed()), (StatusCode::GATEWAY_TIMEOUT, limit));

    let started = Instant::now();
    let chain = FallbackChain::builder("recommendations")
        .total(limit)
        .provider(Provider::service(name!("bestsellers"), answers("the usual")))
        .build()
        .unwrap();
    let stack = FallbackLayer::new(name!("ml_service"), chain).layer(bulkhead.layer(answers("well")));
    let (head, body) = read(stack.oneshot(get("/")).await.unwrap()).await;
    assert_eq!((head.status, body.as_str(), started.elapsed()), (StatusCode::OK, "the usual", limit / 2));
    assert_eq!((bulkhead.handle().in_use(), bulkhead.handle().waiting()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn hung_calls_give_their_permits_back_by_the_timeout_inside_and_the_line_moves_on() {
    let max_wait = Duration::from_millis(1_500);
    let builder = BulkheadLayer::builder("ml_service").max_concurrent(1).max_waiting(2);
    let bulkhead = builder.max_wait(max_wait).build().unwrap();
    let timeout = TimeoutLayer::new(name!("ml_service"));
    let stack = ServiceBuilder::new().layer(bulkhead.clone()).layer(timeout).service(hangs());
    let started = Instant::now();
    let ask = async || {
        let answer = stack.clone().oneshot(get("/")).await.unwrap();
        (answer.status(), started.elapsed().as_millis())
    };
    // The second call is admitted when the first one is ended. The third is refused after `max_wait`, before the second ends.
    let (first, second, third) = tokio::join!(ask(), ask(), ask());
    assert_eq!((first, second), ((StatusCode::GATEWAY_TIMEOUT, 1_000), (StatusCode::GATEWAY_TIMEOUT, 2_000)));
    assert_eq!(third, (StatusCode::SERVICE_UNAVAILABLE, 1_500));
    assert_eq!((bulkhead.handle().in_use(), bulkhead.handle().waiting()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_waits_holds_no_permit() {
    let bulkhead = room_for(1, 0);
    let down = service_fn(|_: Request| async { Ok::<_, Infallible>(StatusCode::SERVICE_UNAVAILABLE.into_response()) });
    let retry = RetryLayer::new(name!("ml_service"));
    let mut call =
        task::spawn(ServiceBuilder::new().layer(retry).layer(bulkhead.clone()).service(down).oneshot(get("/")));
    assert_pending!(call.poll());
    assert_eq!(bulkhead.handle().in_use(), 0);
    let other = assert_ready_ok!(task::spawn(bulkhead.layer(answers("well")).oneshot(get("/"))).poll());
    assert_eq!(other.status(), StatusCode::OK);
}

/// A circuit that opens at the first failure, and a service that counts its calls, waits, and then fails.
fn fails_late() -> (
    CircuitBreakerLayer,
    Arc<AtomicU32>,
    impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static,
) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        async {
            sleep(Duration::from_millis(100)).await;
            Ok::<_, Infallible>(StatusCode::SERVICE_UNAVAILABLE.into_response())
        }
    });
    let breaker = CircuitBreakerLayer::builder("ml_service").consecutive_failures(1).success_threshold(1);
    (breaker.build().unwrap(), calls, service)
}

fn reason(response: &Response) -> Option<Reason> {
    response.extensions().get::<Rejection>().map(Rejection::reason)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_a_permit_is_refused_once_the_circuit_opens_in_either_order() {
    let (breaker, calls, service) = fails_late();
    let stack = breaker.layer(room_for(1, 1).layer(service));
    let (first, second) = tokio::join!(stack.clone().oneshot(get("/")), stack.oneshot(get("/")));
    assert_eq!((reason(&first.unwrap()), reason(&second.unwrap())), (None, Some(Reason::CIRCUIT_OPEN)));
    assert_eq!(calls.load(Relaxed), 1, "a circuit around a bulkhead");

    let (breaker, calls, service) = fails_late();
    let stack = room_for(1, 1).layer(breaker.layer(service));
    let (first, second) = tokio::join!(stack.clone().oneshot(get("/")), stack.oneshot(get("/")));
    assert_eq!((reason(&first.unwrap()), reason(&second.unwrap())), (None, Some(Reason::CIRCUIT_OPEN)));
    assert_eq!(calls.load(Relaxed), 1, "a bulkhead around a circuit");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_refused_while_it_waits_was_not_processed_so_a_provider_answers_a_post() {
    let (breaker, calls, service) = fails_late();
    let bulkhead = room_for(1, 1);
    let chain = FallbackChain::builder("orders").provider(Provider::service(name!("replica"), answers("accepted")));
    let stack = ServiceBuilder::new()
        .layer(FallbackLayer::new(name!("ml_service"), chain.build().unwrap()))
        .layer(breaker)
        .layer(TimeoutLayer::new(name!("ml_service")))
        .layer(bulkhead.clone())
        .service(service);
    let (first, second) = tokio::join!(stack.clone().oneshot(post("/", "one")), stack.oneshot(post("/", "two")));
    assert_eq!(first.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE, "it may have been processed");
    assert_eq!(second.unwrap().status(), StatusCode::OK);
    assert_eq!((calls.load(Relaxed), bulkhead.handle().in_use(), bulkhead.handle().waiting()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_pass_a_circuit_that_has_closed_again_and_not_one_that_has_opened() {
    let (breaker, calls, service) = fails_late();
    let circuit = breaker.handle();
    let stack = breaker.layer(room_for(1, 3).layer(service));
    let mut waiting: Vec<_> = (0..3).map(|_| task::spawn(stack.clone().oneshot(get("/")))).collect();
    for call in &mut waiting {
        assert_pending!(call.poll());
    }
    circuit.isolate();
    circuit.close();
    sleep(Duration::from_millis(100)).await;
    // It was admitted before the circuit was closed by hand, so its failure doesn't count.
    assert_eq!(reason(&assert_ready_ok!(waiting.remove(0).poll())), None);
    assert_pending!(waiting[0].poll());
    assert_eq!((calls.load(Relaxed), circuit.state()), (2, CircuitState::Closed));

    sleep(Duration::from_millis(100)).await;
    assert_eq!(reason(&assert_ready_ok!(waiting.remove(0).poll())), None);
    assert_eq!(circuit.state(), CircuitState::Open);
    assert_eq!(reason(&assert_ready_ok!(waiting.remove(0).poll())), Some(Reason::CIRCUIT_OPEN));
    assert_eq!(calls.load(Relaxed), 2);
}
