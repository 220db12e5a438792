//! What a dashboard shows.

#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "the helpers of a test may fail it, as the test itself may")]

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use backstop_last_known_good::{LastKnownGoodLayer, name};
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

mod support;

use support::{get, response, send, stored};

#[derive(Default)]
struct Recorded(Mutex<Vec<(String, Arc<AtomicU64>)>>);

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        let value = Arc::new(AtomicU64::new(0));
        self.0.lock().unwrap().push((format!("{}{labels:?}", key.name()), Arc::clone(&value)));
        Counter::from_arc(value)
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[tokio::test(start_paused = true)]
async fn each_answer_that_is_served_counts_also_in_a_recorder_that_comes_later() {
    let layer = LastKnownGoodLayer::new(name!("shop"));
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    stored(&layer, get("/", &[])).await.unwrap();

    let recorded = Recorded::default();
    let _guard = metrics::set_default_local_recorder(&recorded);
    stored(&layer, get("/", &[])).await.unwrap();
    stored(&layer, get("/none", &[])).await.unwrap_err();
    send(&layer, get("/", &[]), response(200, &[], "x")).await;
    let counted: Vec<_> =
        recorded.0.lock().unwrap().iter().map(|(key, value)| (key.clone(), value.load(Ordering::Relaxed))).collect();
    assert_eq!(counted, [("stale_served_total[\"name=shop\"]".to_owned(), 1)]);
}
