//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    collections::BTreeMap,
    convert::Infallible,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_circuit_breaker::{CircuitBreakerLayer, OnDrop};
use http::{Request, Response, StatusCode};
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::{advance, sleep, timeout};
use tower::{BoxError, Layer, Service, ServiceExt, service_fn};

const WAIT: Duration = Duration::from_secs(60);

const DUE: &str = "circuit_breaker_probe_due_timestamp_seconds";

type Values = Arc<Mutex<BTreeMap<String, f64>>>;

#[derive(Clone, Default)]
struct Recorded(Values, Arc<AtomicUsize>);

struct One(Values, String);

impl One {
    fn change(&self, change: impl FnOnce(&mut f64)) {
        change(self.0.lock().unwrap().entry(self.1.clone()).or_default());
    }
}

impl CounterFn for One {
    fn increment(&self, by: u64) {
        self.change(|value| *value += by as f64);
    }

    fn absolute(&self, to: u64) {
        self.change(|value| *value = to as f64);
    }
}

impl GaugeFn for One {
    fn increment(&self, by: f64) {
        self.change(|value| *value += by);
    }

    fn decrement(&self, by: f64) {
        self.change(|value| *value -= by);
    }

    fn set(&self, to: f64) {
        self.change(|value| *value = to);
        let values = self.0.lock().unwrap();
        let states = values.iter().filter(|(name, value)| name.starts_with("circuit_breaker_state") && **value == 1.0);
        assert!(states.count() <= 1, "two states at once");
    }
}

impl Recorded {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(One(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    /// Whatever isn't 0, but the time at which a probe is due.
    fn shown(&self) -> Vec<String> {
        let values = self.0.lock().unwrap();
        let values = values.iter().filter(|(name, _)| !name.starts_with(DUE));
        values.filter(|(_, value)| **value != 0.0).map(|(name, value)| format!("{name} {value}")).collect()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.one(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        self.1.fetch_add(1, Relaxed);
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

fn layer() -> CircuitBreakerLayer {
    CircuitBreakerLayer::builder("upstream").consecutive_failures(2).build().unwrap()
}

async fn call(layer: &CircuitBreakerLayer, status: StatusCode) {
    let answers = service_fn(move |_: Request<()>| async move {
        let mut response = Response::new(());
        *response.status_mut() = status;
        Ok::<_, Infallible>(response)
    });
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
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let layer = layer();
    assert_eq!(recorded.shown(), ["circuit_breaker_state{name=upstream,state=closed} 1"]);
    through_all_states(&layer).await;
    assert_eq!(recorded.shown(), ALL);
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_counts_from_then_on() {
    let layer = layer();
    through_all_states(&layer).await;
    layer.handle().reset();
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    through_all_states(&layer).await;
    assert_eq!(recorded.shown(), ALL);
}

#[test]
fn a_layer_that_is_applied_shows_its_state_once_to_each_recorder() {
    let layer = layer();
    layer.handle().isolate();
    let recorders = [Recorded::default(), Recorded::default()];
    for recorded in &recorders {
        let _guard = metrics::set_default_local_recorder(recorded);
        (0..10).for_each(|_| drop(layer.layer(())));
        assert_eq!(recorded.shown(), ["circuit_breaker_state{name=upstream,state=isolated} 1"]);
        assert_eq!(recorded.1.load(Relaxed), 5, "a gauge for each state, and one for when a probe is due");
    }
}

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_has_its_reason() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
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

    let failures: Vec<_> = recorded.shown().into_iter().filter(|shown| shown.contains("failures")).collect();
    let expected = ["dropped", "error", "panic", "slow"]
        .map(|reason| format!("circuit_breaker_failures_total{{name=upstream,reason={reason}}} 1"));
    assert_eq!(failures, expected);
}

#[tokio::test(start_paused = true)]
async fn the_time_at_which_a_probe_is_due_is_shown_while_the_circuit_is_open() {
    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let layer = layer();
    let due = || recorded.0.lock().unwrap()[&format!("{DUE}{{name=upstream}}")];
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
}
