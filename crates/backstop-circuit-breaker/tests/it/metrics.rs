//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{collections::BTreeMap, convert::Infallible, future::pending, time::Duration};

use backstop_circuit_breaker::{CircuitBreakerLayer, OnDrop};
use backstop_test::{Metrics, Scripted};
use http::{Request, Response, StatusCode};
use tokio::time::{advance, sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

const WAIT: Duration = Duration::from_secs(60);

const DUE: &str = "circuit_breaker_probe_due_timestamp_seconds";

/// Whatever isn't 0, but the time at which a probe is due, and the calls: see `call_metrics.rs`.
fn shown(metrics: &Metrics) -> Vec<String> {
    assert_one_state_at_a_time(metrics);
    let is_shown = |line: &String| !line.starts_with(DUE) && !line.starts_with("call") && !line.ends_with(" 0");
    metrics.lines().into_iter().filter(is_shown).collect()
}

/// Panics if two states were ever shown at once.
fn assert_one_state_at_a_time(metrics: &Metrics) {
    let mut shown = BTreeMap::new();
    for change in metrics.history() {
        let (series, value) = change.rsplit_once(' ').unwrap();
        if series.starts_with("circuit_breaker_state") {
            shown.insert(series.to_owned(), value.to_owned());
        }
        assert!(shown.values().filter(|value| *value == "1").count() <= 1, "two states at once: {change}");
    }
}

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap()
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) {
    let answers = Scripted::statuses([status.as_u16()]);
    layer.layer(answers).oneshot(Request::get("/users/7").body(()).unwrap()).await.unwrap();
}

async fn through_all_states(layer: &CircuitBreakerLayer) {
    call(layer, StatusCode::OK).await;
    for _ in 0..3 {
        call(layer, StatusCode::BAD_GATEWAY).await;
    }
    advance(WAIT).await;
    call(layer, StatusCode::BAD_GATEWAY).await;
    advance(WAIT).await;
    for _ in 0..2 {
        call(layer, StatusCode::OK).await;
    }
    layer.handle().isolate();
    call(layer, StatusCode::OK).await;
}

const ALL: [&str; 7] = [
    "circuit_breaker_failures_total{name=upstream,reason=response} 3",
    "circuit_breaker_rejections_total{name=upstream} 2",
    "circuit_breaker_state{name=upstream,state=isolated} 1",
    "circuit_breaker_transitions_total{name=upstream,to=closed} 1",
    "circuit_breaker_transitions_total{name=upstream,to=half-open} 2",
    "circuit_breaker_transitions_total{name=upstream,to=isolated} 1",
    "circuit_breaker_transitions_total{name=upstream,to=open} 2",
];

#[tokio::test(start_paused = true)]
async fn what_happens_is_counted_and_one_state_is_shown() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = layer();
    assert_eq!(shown(&metrics), ["circuit_breaker_state{name=upstream,state=closed} 1"]);
    through_all_states(&layer).await;
    assert_eq!(shown(&metrics), ALL);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_counts_from_then_on() {
    let layer = layer();
    through_all_states(&layer).await;
    layer.handle().reset();
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    through_all_states(&layer).await;
    assert_eq!(shown(&metrics), ALL);
}

#[test]
fn a_layer_that_is_applied_shows_its_state_once_to_each_recorder() {
    let layer = layer();
    layer.handle().isolate();
    let recorders = [Metrics::new(), Metrics::new()];
    for metrics in &recorders {
        let _guard = metrics.listen();
        (0..10).for_each(|_| drop(layer.layer(())));
        assert_eq!(shown(metrics), ["circuit_breaker_state{name=upstream,state=isolated} 1"]);
        assert_eq!(metrics.history().len(), 6, "a gauge for each state, and one for when a probe is due");
    }
}

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_has_its_reason() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let second = Duration::from_secs(1);
    let builder = CircuitBreakerLayer::builder("upstream").on_drop(OnDrop::Failure).slow_calls(second, 1.0);
    let layer = builder.consecutive_failures(100).build().unwrap();

    let errors = service_fn(|_: Request<()>| async { Err::<Response<()>, BoxError>("gone".into()) });
    layer.layer(errors).oneshot(Request::new(())).await.unwrap_err();
    let hangs = service_fn(|_: Request<()>| pending::<Result<Response<()>, Infallible>>());
    timeout(second, layer.layer(hangs).oneshot(Request::new(()))).await.unwrap_err();
    let slow = service_fn(|_: Request<()>| async {
        sleep(Duration::from_secs(2)).await;
        Ok::<_, Infallible>(Response::new(()))
    });
    layer.layer(slow).oneshot(Request::new(())).await.unwrap();
    let panics =
        service_fn(|_: Request<()>| -> std::future::Ready<Result<Response<()>, Infallible>> { panic!("on purpose") });
    let mut panics = layer.layer(panics);
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(panics.call(Request::new(()))))).unwrap_err();

    let failures: Vec<_> = shown(&metrics).into_iter().filter(|shown| shown.contains("failures")).collect();
    let expected = ["dropped", "error", "panic", "slow"]
        .map(|reason| format!("circuit_breaker_failures_total{{name=upstream,reason={reason}}} 1"));
    assert_eq!(failures, expected);
}

#[tokio::test(start_paused = true)]
async fn the_time_at_which_a_probe_is_due_is_shown_while_the_circuit_is_open() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = layer();
    let due = || metrics.gauge(DUE, &[("name", "upstream")]).unwrap();
    assert_eq!(due(), 0.0);
    #[expect(clippy::disallowed_types, reason = "it is the time of day that is shown")]
    let now = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap();
    for _ in 0..2 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    let wait = due() - now.as_secs_f64();
    assert!((60.0..120.0).contains(&wait), "{wait}");
    advance(WAIT).await;
    call(&layer, StatusCode::OK).await;
    assert_eq!(due(), 0.0);
    assert_one_state_at_a_time(&metrics);
}

#[tokio::test(start_paused = true)]
async fn what_an_observing_circuit_would_have_refused_is_counted_and_its_state_is_closed() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let layer = CircuitBreakerLayer::builder("upstream").consecutive_failures(2).observe_only().build().unwrap();
    for _ in 0..5 {
        call(&layer, StatusCode::BAD_GATEWAY).await;
    }
    assert_eq!(
        shown(&metrics),
        [
            "circuit_breaker_failures_total{name=upstream,reason=response} 2",
            "circuit_breaker_state{name=upstream,state=closed} 1",
            "circuit_breaker_transitions_total{name=upstream,to=open} 1",
            "circuit_breaker_would_reject_total{name=upstream} 3",
        ]
    );
}
