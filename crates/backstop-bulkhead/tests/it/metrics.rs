//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::support::{call, reached, room_for, upstream};
use axum::body::Body;
use http::Response;
use metrics::{Counter, CounterFn, Gauge, GaugeFn, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::time::advance;
use tokio_test::{assert_pending, assert_ready_ok};

type Values = Arc<Mutex<BTreeMap<String, f64>>>;

#[derive(Clone, Default)]
struct Recorded(Values);

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
    }
}

impl Recorded {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(One(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn shown(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, value)| format!("{name} {value}")).collect()
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
        Gauge::from_arc(self.one(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> metrics::Histogram {
        metrics::Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_in_use_is_shown_and_what_is_refused_is_counted_also_by_a_recorder_that_comes_later() {
    let layer = room_for(2, 0);
    let (upstream, mut calls) = upstream();
    let mut before = call(&layer, &upstream);
    assert_pending!(before.poll());

    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    let mut running = call(&layer, &upstream);
    assert_pending!(running.poll());
    assert_eq!(recorded.shown(), ["bulkhead_in_use{name=ml_service} 2"]);
    assert_ready_ok!(call(&layer, &upstream).poll());
    reached(&mut calls).await.send_response(Response::new(Body::from("unread")));
    let unread = assert_ready_ok!(before.poll());
    drop(running);
    assert_eq!(
        recorded.shown(),
        ["bulkhead_in_use{name=ml_service} 1", "bulkhead_rejections_total{name=ml_service} 1"]
    );

    advance(Duration::from_secs(60)).await;
    assert_eq!(layer.handle().in_use(), 0);
    let all = [
        "bulkhead_held_too_long_total{name=ml_service} 1",
        "bulkhead_in_use{name=ml_service} 0",
        "bulkhead_rejections_total{name=ml_service} 1",
    ];
    assert_eq!(recorded.shown(), all);
    drop(unread);
    assert_eq!(recorded.shown(), all);
}
