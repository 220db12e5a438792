//! The standard stack's settings: what its builder, its config and its handle say.

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
    http::{Response, StatusCode},
};
use backstop::{
    BulkheadConfig, CircuitBreakerConfig, CircuitState, DeadlineHeader, PropagateDeadlineConfig, Reason, Rejection,
    RetryConfig, Standard, StandardConfig, StandardService, TimeoutConfig, circuit_breaker::SlowCalls, name, standard,
};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

const SECOND: Duration = Duration::from_secs(1);

fn message<T>(result: Result<T, backstop::ConfigError>) -> String {
    result.err().map(|error| error.to_string()).unwrap_or_default()
}

/// A service that answers 503, and counts its calls.
fn failing()
-> (impl Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send, Arc<AtomicU32>) {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        async { Ok(response) }
    });
    (service, calls)
}

/// A body that never has anything.
struct Never;

impl http_body::Body for Never {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        std::task::Poll::Pending
    }
}

#[tokio::test(start_paused = true)]
async fn each_knob_of_each_part_can_be_turned() {
    let layer = standard("ml")
        .timeout(Duration::from_millis(300))
        .retry(|retry| retry.max_attempts(2).retry_on(StatusCode::NOT_FOUND))
        .circuit_breaker(|circuit| {
            circuit.consecutive_failures(2).classify_fn(|_: Result<&Response<Body>, _>| backstop::Outcome::success())
        })
        .bulkhead(|bulkhead| bulkhead.max_concurrent(7).until_headers())
        .timeout_with(|timeout| timeout.cover(backstop::timeout::UntilFirstFrame))
        .propagate_deadline(|propagate| propagate.send(DeadlineHeader::EnvoyExpectedRqTimeoutMs))
        .build()
        .unwrap();
    let handle = layer.handle();
    assert_eq!(handle.bulkhead().unwrap().max_concurrent(), 7);
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let stack = ServiceBuilder::new().layer(layer).service(service_fn(move |request: Request| {
        counted.fetch_add(1, Relaxed);
        let left: u64 = request.headers()["x-envoy-expected-rq-timeout-ms"].to_str().unwrap().parse().unwrap();
        assert!(left <= 290, "{left}");
        async {
            // The first frame never comes.
            Ok::<_, Infallible>(Response::new(Body::new(Never)))
        }
    }));
    let started = Instant::now();
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(calls.load(Relaxed), 2);
    assert!(started.elapsed() >= Duration::from_millis(600));
    assert_eq!(handle.circuit_breaker().unwrap().state(), CircuitState::Open);
}

#[tokio::test]
async fn a_part_that_is_left_out_does_nothing_and_has_no_handle() {
    let (service, calls) = failing();
    let layer = standard("ml").without_retry().without_circuit_breaker().without_bulkhead().without_timeout();
    let layer = layer.without_propagate_deadline().build().unwrap();
    let handle = layer.handle();
    assert!(handle.retry().is_none() && handle.circuit_breaker().is_none() && handle.bulkhead().is_none());
    assert_eq!(handle.parts().count(), 0);
    let stack = layer.layer(service);
    for _ in 0..10 {
        let answer = stack.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        assert!(answer.extensions().get::<Rejection>().is_none());
    }
    assert_eq!(calls.load(Relaxed), 10);
}

#[tokio::test]
async fn a_part_that_is_set_after_it_was_left_out_is_there() {
    let (service, calls) = failing();
    let layer = standard("ml").without_retry().retry(|retry| retry.max_attempts(2)).build().unwrap();
    layer.layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(calls.load(Relaxed), 2);
}

#[test]
fn parts_that_contradict_each_other_are_refused_by_both_names() {
    assert_eq!(
        message(standard("ml").retry(|retry| retry.total(SECOND)).timeout(2 * SECOND).build()),
        "timeout.limit is 2s, allowed is: up to retry.total, which is 1s"
    );
    assert_eq!(
        message(standard("ml").bulkhead(|bulkhead| bulkhead.max_wait(61 * SECOND)).build()),
        "bulkhead.max_wait is 61s, allowed is: up to retry.total, which is 60s"
    );
    assert_eq!(
        message(standard("ml").circuit_breaker(|circuit| circuit.probe_lease(SECOND / 2)).build()),
        "circuit_breaker.probe_lease is 500ms, allowed is: at least timeout.limit, which is 1s"
    );
    assert_eq!(
        message(standard("ml").circuit_breaker(|circuit| circuit.slow_calls(SECOND, 0.5)).build()),
        "circuit_breaker.slow_calls.threshold is 1s, allowed is: less than timeout.limit, which is 1s"
    );
    assert_eq!(
        message(standard("ml").propagate_deadline(|propagate| propagate.margin(SECOND)).build()),
        "propagate_deadline.margin is 1s, allowed is: less than timeout.limit, which is 1s"
    );
}

#[test]
fn a_part_that_is_left_out_contradicts_nothing() {
    let long = || standard("ml").timeout(90 * SECOND).circuit_breaker(|circuit| circuit.probe_lease(90 * SECOND));
    assert!(long().build().is_err());
    assert!(long().without_retry().build().is_ok());
    assert!(long().retry(|retry| retry.max_attempts(1)).build().is_ok(), "one attempt has no total");
    assert!(long().without_timeout().build().is_ok());
}

#[test]
fn each_part_checks_its_own_settings() {
    assert_eq!(
        message(standard("ml").retry(|retry| retry.max_attempts(0)).build()),
        "max_attempts is 0, allowed is: 1 to 1000"
    );
    assert!(message(standard("no name").build()).starts_with("name is"));
}

#[tokio::test]
async fn a_config_makes_the_same_stack() {
    let mut config = StandardConfig::new("ml");
    config.retry.as_mut().unwrap().max_attempts = 4;
    config.bulkhead = None;
    let layer = Standard::from_config(config.clone()).unwrap();
    assert!(layer.handle().bulkhead().is_none());
    let (service, calls) = failing();
    layer.layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(calls.load(Relaxed), 4);

    config.timeout.as_mut().unwrap().limit = 90 * SECOND;
    assert_eq!(
        message(Standard::from_config(config)),
        "timeout.limit is 90s, allowed is: up to retry.total, which is 60s"
    );
}

#[test]
fn each_part_of_a_config_has_the_stacks_name() {
    let expected = "name is other, allowed is: the stack's name, \"ml\", for each part";
    let change: [fn(&mut StandardConfig); 5] = [
        |config| config.retry = Some(RetryConfig::new("other")),
        |config| config.circuit_breaker = Some(CircuitBreakerConfig::new("other")),
        |config| config.bulkhead = Some(BulkheadConfig::new("other")),
        |config| config.timeout = Some(TimeoutConfig::new("other")),
        |config| config.propagate_deadline = Some(PropagateDeadlineConfig::new("other")),
    ];
    for change in change {
        let mut config = StandardConfig::new("ml");
        change(&mut config);
        assert_eq!(message(Standard::from_config(config)), expected);
    }
    let mut slow = StandardConfig::new("ml");
    slow.circuit_breaker.as_mut().unwrap().slow_calls = Some(SlowCalls::new(SECOND / 2, 0.5));
    assert!(Standard::from_config(slow).is_ok());
}

/// The stack's type can be written down.
struct Prices<S> {
    client: StandardService<S>,
}

#[tokio::test]
async fn the_stacks_type_has_a_name() {
    let (service, _) = failing();
    let prices = Prices { client: standard(name!("prices")).layer(service) };
    let answer = prices.client.oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn clones_and_services_share_the_parts_that_the_handle_shows() {
    let (service, calls) = failing();
    let layer = standard("ml").without_retry().build().unwrap();
    let handle = layer.handle();
    handle.circuit_breaker().unwrap().isolate();
    for layer in [layer.clone(), layer] {
        let refused = layer.layer(service.clone()).oneshot(Request::new(Body::empty())).await.unwrap();
        let reason = refused.extensions().get::<Rejection>().map(Rejection::reason);
        assert_eq!(reason, Some(Reason::CIRCUIT_OPEN));
    }
    assert_eq!(calls.load(Relaxed), 0);
}

#[cfg(feature = "last-known-good")]
#[tokio::test]
async fn good_answers_are_stored_by_the_outermost_part() {
    use backstop::LastKnownGoodLayer;

    let known = LastKnownGoodLayer::new(name!("prices"));
    let layer = standard(name!("prices")).last_known_good(known.clone()).until_headers();
    let kinds: Vec<_> = layer.handle().parts().map(backstop::Inspect::kind).collect();
    assert_eq!(kinds, ["last-known-good", "retry", "circuit-breaker", "bulkhead"]);
    let stack = layer.layer(service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::from("9.99"))) }));
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    axum::body::to_bytes(answer.into_body(), 10).await.unwrap();
    assert!(!known.handle().is_empty());
}

#[test]
fn reloads_at_the_same_time_leave_the_settings_of_one_of_them() {
    let handle = standard(name!("raced")).handle();
    let config = |n| {
        let mut config = StandardConfig::new("raced");
        config.bulkhead.as_mut().unwrap().max_concurrent = n;
        config.timeout.as_mut().unwrap().limit = SECOND * n;
        config
    };
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(|| handle.reload(config(1)).unwrap());
            scope.spawn(|| handle.reload(config(2)).unwrap());
        });
        let max_concurrent = handle.bulkhead().unwrap().max_concurrent();
        assert_eq!(handle.timeout().unwrap().limit(), SECOND * max_concurrent);
    }
}
