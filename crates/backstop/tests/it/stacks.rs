//! The layers in one stack, by `standard` and by the methods for `ServiceBuilder`.

use backstop::Reason;
use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    body::Body,
    extract::Request,
    http::{StatusCode, header::RETRY_AFTER},
    response::{IntoResponse, Response},
};
use backstop::{CircuitState, FallbackChain, Provider, Rejection, ServiceBuilderExt, Standard, name};
use tokio::time::Instant;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

type Calls = Arc<AtomicU32>;

/// A service that answers so, and counts its calls.
fn answering<Fut>(
    answer: impl Fn() -> Fut + Clone + Send,
) -> (impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone + Send, Calls)
where
    Fut: Future<Output = StatusCode> + Send,
{
    let calls = Calls::default();
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        let answer = answer();
        async { Ok(answer.await.into_response()) }
    });
    (service, calls)
}

/// How many calls of a stack the service gets, which fails where `fails` says so, before its circuit opens; at most 200.
async fn opens_after(layer: Standard, fails: fn(u32) -> bool) -> Option<u32> {
    let (made, circuit) = (Arc::new(AtomicU32::new(0)), layer.handle().circuit_breaker()?.clone());
    let counted = Arc::clone(&made);
    let (service, _) = answering(move || {
        let failed = fails(counted.fetch_add(1, Relaxed) + 1);
        async move { if failed { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK } }
    });
    let stack = ServiceBuilder::new().layer(layer).service(service);
    for _ in 0..200 {
        stack.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        if circuit.state() == CircuitState::Open {
            return Some(made.load(Relaxed));
        }
    }
    None
}

#[tokio::test(start_paused = true)]
async fn a_standard_circuit_opens_on_ten_failures_in_a_row_or_when_half_of_its_calls_fail_however_it_is_made() {
    let reloaded = Standard::builder("ml").circuit_breaker(|circuit| circuit.consecutive_failures(1)).build().unwrap();
    reloaded.handle().reload(backstop::StandardConfig::new("ml")).unwrap();
    let stacks = || [Standard::new(name!("ml")), Standard::builder("ml").build().unwrap()];
    let from_config = Standard::from_config(backstop::StandardConfig::new("ml")).unwrap();
    for layer in stacks().into_iter().chain([from_config, reloaded]) {
        let handle = layer.handle();
        assert_eq!(opens_after(layer.clone(), |_| true).await, Some(10));
        handle.circuit_breaker().unwrap().reset();
        assert_eq!(opens_after(layer, |call| call % 2 == 0).await, Some(20));
    }
    let own = Standard::builder("ml").circuit_breaker(|circuit| circuit.consecutive_failures(3)).build().unwrap();
    assert_eq!(opens_after(own.clone(), |call| call % 2 == 0).await, None, "what is set replaces both");
    own.handle().circuit_breaker().unwrap().reset();
    assert_eq!(opens_after(own, |_| true).await, Some(3));
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_repeats_then_refuses_then_recovers() {
    let is_well = Arc::new(AtomicU32::new(0));
    let asked = Arc::clone(&is_well);
    let (service, calls) = answering(move || {
        let is_well = asked.load(Relaxed) == 1;
        async move { if is_well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE } }
    });
    let layer =
        Standard::builder("ml_service").circuit_breaker(|circuit| circuit.consecutive_failures(5)).build().unwrap();
    let circuit = layer.handle().circuit_breaker().unwrap().clone();
    let ml_service = ServiceBuilder::new().layer(layer).service(service);
    let ask = || ml_service.clone().oneshot(Request::new(Body::empty()));

    assert_eq!(ask().await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!((calls.load(Relaxed), circuit.state()), (3, CircuitState::Closed), "three attempts");
    let own = ask().await.unwrap();
    assert_eq!((calls.load(Relaxed), circuit.state()), (5, CircuitState::Open), "the circuit saw each of them");
    assert!(own.extensions().get::<Rejection>().is_none(), "the service's own answer is worth more than a refusal");
    let refused = ask().await.unwrap();
    let wait: u64 = refused.headers()[RETRY_AFTER].to_str().unwrap().parse().unwrap();
    assert!((60..=66).contains(&wait), "{wait}");
    assert_eq!(calls.load(Relaxed), 5, "a refusal touches nothing and is not repeated");

    is_well.store(1, Relaxed);
    tokio::time::advance(Duration::from_secs(60)).await;
    for _ in 0..2 {
        assert_eq!(ask().await.unwrap().status(), StatusCode::OK);
    }
    assert_eq!(circuit.state(), CircuitState::Closed);
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_ends_hung_attempts_and_the_circuit_counts_them() {
    let (service, calls) = answering(std::future::pending);
    let layer = Standard::new(name!("ml_service"));
    let circuit = layer.handle().circuit_breaker().unwrap().clone();
    let ml_service = ServiceBuilder::new().layer(layer).service(service);

    let started = Instant::now();
    let ended = ml_service.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(ended.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!((calls.load(Relaxed), circuit.counts().failures), (3, 3));
    // Three times the limit, and waits of at most 100 ms and 200 ms.
    let took = started.elapsed();
    assert!((Duration::from_secs(3)..=Duration::from_millis(3_310)).contains(&took), "{took:?}");
}

#[test]
fn whatever_a_layer_can_be_told_can_be_named() {
    use backstop::{CircuitBreakerLayer, RetryLayer, circuit_breaker::Wait, kit::KeepReplaced};

    let wait = Wait::Growing { first: Duration::from_secs(5), max: Duration::from_secs(120) };
    let breaker = CircuitBreakerLayer::builder("ml_service").wait(wait).build();
    let retry = RetryLayer::builder("ml_service").keep_replaced(KeepReplaced::default()).build();
    assert!(breaker.is_ok() && retry.is_ok());
}

#[tokio::test(start_paused = true)]
async fn each_method_of_a_service_builder_adds_its_layer() {
    let chain = FallbackChain::builder("recommendations")
        .provider(Provider::handler(name!("bestsellers"), || async { "the usual" }))
        .build()
        .unwrap();
    let (service, calls) = answering(std::future::pending);
    let stack = ServiceBuilder::new()
        .degradation_header()
        .deadline(name!("edge"))
        .fallback(name!("ml_service"), chain)
        .retries(name!("ml_service"))
        .circuit_breaker(name!("ml_service"))
        .bulkhead(name!("ml_service"))
        .time_limit(name!("ml_service"))
        .service(service.clone());

    // The primary has half of the chain's 5 s: two attempts of 1 s, and what is left of a third.
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-fallback-source"], "bestsellers");
    assert_eq!(calls.load(Relaxed), 3);

    let reason = |ended: Response| ended.extensions().get::<Rejection>().map(Rejection::reason);
    let limited = ServiceBuilder::new().time_limit(name!("ml_service")).service(service.clone());
    let ended = limited.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!((reason(ended), calls.load(Relaxed)), (Some(Reason::TIMEOUT), 4));
    let standard = ServiceBuilder::new().standard(name!("ml_service")).service(service);
    let ended = standard.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!((reason(ended), calls.load(Relaxed)), (Some(Reason::TIMEOUT), 7));
}

#[tokio::test(start_paused = true)]
async fn the_standard_stack_bounds_what_runs_and_refuses_the_rest_without_a_failure() {
    let (service, calls) = answering(std::future::pending);
    let layer = Standard::new(name!("ml_service"));
    let handle = layer.handle();
    let (circuit, bulkhead) = (handle.circuit_breaker().unwrap(), handle.bulkhead().unwrap());
    bulkhead.set_max_concurrent(2).unwrap();
    let ml_service = ServiceBuilder::new().layer(layer).service(service);
    let mut asked: Vec<_> =
        std::iter::repeat_with(|| tokio_test::task::spawn(ml_service.clone().oneshot(Request::new(Body::empty()))))
            .take(102)
            .collect();
    for call in &mut asked {
        assert!(call.poll().is_pending());
    }
    assert_eq!((calls.load(Relaxed), bulkhead.in_use(), bulkhead.waiting()), (2, 2, 100));

    let refused = ml_service.oneshot(Request::new(Body::empty())).await.unwrap();
    let rejection = refused.extensions().get::<Rejection>().map(Rejection::reason);
    assert_eq!(rejection, Some(Reason::BULKHEAD_FULL));
    assert_eq!(refused.headers()[RETRY_AFTER], "1");
    assert_eq!((calls.load(Relaxed), circuit.counts().failures), (2, 0), "neither repeated nor counted");
}
