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

#[test]
fn a_part_that_is_set_and_left_out_is_refused_by_both_names_whichever_came_first() {
    let refused =
        |part: &str| format!("{part} is \"set and left out\", allowed is: either `{part}` or `without_{part}`");
    let ml = || standard("ml");
    let both = [
        ("retry", message(ml().without_retry().retry(|retry| retry).build())),
        ("retry", message(ml().retry(|retry| retry).without_retry().build())),
        ("circuit_breaker", message(ml().without_circuit_breaker().circuit_breaker(|circuit| circuit).build())),
        ("bulkhead", message(ml().bulkhead(|bulkhead| bulkhead).without_bulkhead().build())),
        ("timeout", message(ml().without_timeout().timeout(SECOND).build())),
        ("timeout", message(ml().timeout_with(|timeout| timeout).without_timeout().build())),
        ("propagate_deadline", message(ml().without_propagate_deadline().propagate_deadline(|it| it).build())),
    ];
    for (part, message) in both {
        assert_eq!(message, refused(part));
    }
    // What is said of all parts says nothing about whether one is left out.
    assert!(ml().without_retry().problem_details().classify(backstop::HttpClassify::new()).build().is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_classifier_judges_in_the_retry_and_in_the_circuit_breaker() {
    let layer = standard("ml")
        .classify_fn(|_: Result<&Response<Body>, backstop::ErrorRef<'_>>| backstop::Outcome::success())
        .circuit_breaker(|circuit| circuit.consecutive_failures(1))
        .build()
        .unwrap();
    let handle = layer.handle();
    let (service, calls) = failing();
    layer.layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!((calls.load(Relaxed), handle.circuit_breaker().unwrap().state()), (1, CircuitState::Closed));

    let worse = backstop::HttpClassify::new().transient(StatusCode::OK);
    let layer = standard("ml").retry(|retry| retry.max_attempts(2)).classify(worse).build().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let service = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        async { Ok::<_, Infallible>(Response::new(Body::empty())) }
    });
    layer.layer(service).oneshot(Request::new(Body::empty())).await.unwrap();
    assert_eq!(calls.load(Relaxed), 2);
}

#[tokio::test(start_paused = true)]
async fn every_part_can_say_why_in_a_problem_document() {
    async fn reason(stack: impl Service<Request, Response = Response<Body>, Error = Infallible>) -> String {
        let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 10).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }
    let layer = || standard("ml").without_retry().bulkhead(|bulkhead| bulkhead.max_concurrent(1).max_waiting(0));
    let layer = layer().timeout(SECOND).problem_details().build().unwrap();
    let handle = layer.handle();
    let hung = service_fn(|_: Request| std::future::pending::<Result<Response<Body>, Infallible>>());
    let stack = layer.layer(hung);
    let mut running = tokio_test::task::spawn(stack.clone().oneshot(Request::new(Body::empty())));
    tokio_test::assert_pending!(running.poll());
    assert!(reason(stack.clone()).await.contains("bulkhead-full"));
    drop(running);
    assert!(reason(stack.clone()).await.contains("timeout"));
    handle.circuit_breaker().unwrap().isolate();
    assert!(reason(stack).await.contains("circuit-open"));
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
    let wait = || standard("ml").bulkhead(|bulkhead| bulkhead.max_wait(90 * SECOND));
    assert!(wait().build().is_err());
    assert!(wait().without_retry().build().is_ok());
    assert!(
        standard("ml").circuit_breaker(|circuit| circuit.probe_lease(SECOND / 2)).without_timeout().build().is_ok()
    );
}

#[test]
fn each_part_checks_its_own_settings() {
    assert_eq!(
        message(standard("ml").retry(|retry| retry.max_attempts(0)).build()),
        "retry.max_attempts is 0, allowed is: 1 to 1000"
    );
    assert!(message(standard("no name").build()).starts_with("name is"));
    let handle = Standard::new(name!("ml")).handle();
    let mut config = handle.config();
    config.retry.as_mut().unwrap().max_attempts = 0;
    let retry = config.retry.clone().unwrap();
    assert_eq!(message(handle.reload(config)), "retry.max_attempts is 0, allowed is: 1 to 1000");
    let refused = message(handle.retry().unwrap().reload(retry));
    assert_eq!(refused, "retry.max_attempts is 0, allowed is: 1 to 1000");
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
    let prices = Prices { client: Standard::new(name!("prices")).layer(service) };
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
    let layer = Standard::new(name!("prices")).last_known_good(known.clone()).until_headers();
    let kinds: Vec<_> = layer.handle().parts().map(backstop::Inspect::kind).collect();
    let inner = ["retry", "circuit-breaker", "bulkhead", "timeout", "propagate-deadline"];
    assert_eq!(kinds, [&["last-known-good"], &inner[..]].concat());
    let stack = layer.layer(service_fn(|_: Request| async { Ok::<_, Infallible>(Response::new(Body::from("9.99"))) }));
    let answer = stack.oneshot(Request::new(Body::empty())).await.unwrap();
    axum::body::to_bytes(answer.into_body(), 10).await.unwrap();
    assert!(!known.handle().is_empty());
}

#[test]
fn reloads_at_the_same_time_leave_the_settings_of_one_of_them() {
    let handle = Standard::new(name!("raced")).handle();
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

#[test]
fn a_part_is_reloaded_through_its_own_handle_only_if_it_fits_to_the_others() {
    let handle = Standard::new(name!("ml")).handle();
    let limit = |limit| {
        let mut config = TimeoutConfig::new("ml");
        config.limit = limit;
        config
    };
    // A clone, and one that was taken before.
    let timeout = handle.timeout().unwrap().clone();
    let mut retry = RetryConfig::new("ml");
    retry.total = 5 * SECOND;
    handle.retry().unwrap().reload(retry).unwrap();
    let refused = "timeout.limit is 6s, allowed is: up to retry.total, which is 5s";
    assert_eq!(message(timeout.check(&limit(6 * SECOND))), refused);
    assert_eq!(message(timeout.reload(limit(6 * SECOND))), refused);
    assert_eq!(timeout.limit(), SECOND);
    timeout.reload(limit(5 * SECOND)).unwrap();
    assert_eq!(timeout.limit(), 5 * SECOND);
    assert_eq!(message(timeout.reload(limit(Duration::ZERO))), "timeout.limit is 0ns, allowed is: 1 ms to 1 h");

    let mut retry = RetryConfig::new("ml");
    retry.total = 4 * SECOND;
    assert_eq!(
        message(handle.retry().unwrap().reload(retry)),
        "timeout.limit is 5s, allowed is: up to retry.total, which is 4s"
    );
    let mut circuit = CircuitBreakerConfig::new("ml");
    circuit.probe_lease = SECOND;
    assert!(
        message(handle.circuit_breaker().unwrap().reload(circuit)).starts_with("circuit_breaker.probe_lease is 1s")
    );
    let mut bulkhead = BulkheadConfig::new("ml");
    bulkhead.max_wait = Some(6 * SECOND);
    assert!(message(handle.bulkhead().unwrap().reload(bulkhead)).starts_with("bulkhead.max_wait is 6s"));
    let mut propagate = PropagateDeadlineConfig::new("ml");
    propagate.margin = 5 * SECOND;
    assert!(
        message(handle.propagate_deadline().unwrap().reload(propagate)).starts_with("propagate_deadline.margin is 5s")
    );

    let config = handle.config();
    assert_eq!((config.timeout.unwrap().limit, config.retry.unwrap().total), (5 * SECOND, 5 * SECOND));
}

#[test]
fn single_parts_that_are_reloaded_at_the_same_time_never_contradict_each_other() {
    let handle = Standard::new(name!("raced_parts")).handle();
    for _ in 0..500 {
        handle.reload(StandardConfig::new("raced_parts")).unwrap();
        let (longer, shorter) = std::thread::scope(|scope| {
            let longer = scope.spawn(|| {
                let mut config = TimeoutConfig::new("raced_parts");
                config.limit = 10 * SECOND;
                handle.timeout().unwrap().reload(config).is_ok()
            });
            let shorter = scope.spawn(|| {
                let mut config = RetryConfig::new("raced_parts");
                config.total = 5 * SECOND;
                handle.retry().unwrap().reload(config).is_ok()
            });
            (longer.join().unwrap(), shorter.join().unwrap())
        });
        assert!(longer != shorter, "the one that comes second is refused");
        let limit = if longer { 10 * SECOND } else { SECOND };
        assert_eq!(handle.timeout().unwrap().limit(), limit);
    }
}

#[tokio::test(start_paused = true)]
async fn once_the_circuit_opens_calls_that_wait_for_a_permit_do_not_reach_the_service() {
    let calls = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&calls);
    let hangs = service_fn(move |_: Request| {
        counted.fetch_add(1, Relaxed);
        std::future::pending::<Result<Response<Body>, Infallible>>()
    });
    let layer = standard("ml").without_retry().bulkhead(|bulkhead| bulkhead.max_concurrent(2).max_waiting(18));
    let stack = layer.circuit_breaker(|circuit| circuit.consecutive_failures(2)).build().unwrap().layer(hangs);
    let mut asking = tokio::task::JoinSet::new();
    for _ in 0..20 {
        asking.spawn(stack.clone().oneshot(Request::new(Body::empty())));
    }
    let mut circuit_open = 0;
    while let Some(answer) = asking.join_next().await {
        let answer = answer.unwrap().unwrap();
        circuit_open += u32::from(answer.extensions().get::<Rejection>().unwrap().reason() == Reason::CIRCUIT_OPEN);
    }
    assert_eq!((circuit_open, calls.load(Relaxed)), (18, 2));
}
