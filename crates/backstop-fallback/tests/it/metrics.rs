//! What a dashboard shows.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{Arc, Mutex},
    time::Duration,
};

use crate::common::*;
use axum::response::Response;
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use metrics::{
    Counter, CounterFn, Gauge, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use tokio::time::sleep;
use tower::{Layer, ServiceExt, service_fn};

type Values = Arc<Mutex<BTreeMap<String, Vec<f64>>>>;

/// Every value by its key; a counter's values are its increments.
#[derive(Clone, Default)]
struct Recorded(Values);

struct One(Values, String);

impl One {
    fn push(&self, value: f64) {
        self.0.lock().unwrap().entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for One {
    fn increment(&self, by: u64) {
        self.push(by as f64);
    }

    fn absolute(&self, _: u64) {
        unreachable!("a counter only counts");
    }
}

impl HistogramFn for One {
    fn record(&self, value: f64) {
        self.push(value);
    }
}

impl Recorded {
    fn one(&self, key: &Key) -> Arc<One> {
        let labels: Vec<_> = key.labels().map(|label| format!("{}={}", label.key(), label.value())).collect();
        Arc::new(One(Arc::clone(&self.0), format!("{}{{{}}}", key.name(), labels.join(","))))
    }

    fn shown(&self) -> Vec<String> {
        self.0.lock().unwrap().iter().map(|(name, values)| format!("{name} {values:?}")).collect()
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        self.one(key).into()
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        self.one(key).into()
    }
}

/// What a primary gives after 50 ms: this status, or nothing at all.
async fn ask(layer: &FallbackLayer<Req, Response>, code: Option<u16>) {
    let primary = service_fn(move |_: Req| async move {
        sleep(Duration::from_millis(50)).await;
        match code {
            Some(code) => infallible(status(code)),
            None => pending().await,
        }
    });
    layer.layer(primary).oneshot(get()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn answers_activations_and_exhaustions_are_counted_by_configured_names() {
    let recorded = Recorded::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let layer = FallbackLayer::new(name!("ml_service"), behind());
    ask(&layer, Some(200)).await;
    ask(&layer, Some(404)).await;
    ask(&layer, Some(503)).await;
    ask(&layer, None).await;
    let broken = Provider::value(name!("broken"), || async { Err::<Response, _>("broken") });
    let layer = FallbackLayer::new(
        name!("ml_service"),
        FallbackChain::builder("exhausted").total(TOTAL).provider(broken).build().unwrap(),
    );
    ask(&layer, Some(503)).await;
    ask(&layer, None).await;
    assert_eq!(
        recorded.shown(),
        [
            "fallback_activations_total{chain_name=chain,provider_name=static} [1.0, 1.0]",
            "fallback_exhausted_total{chain_name=exhausted} [1.0, 1.0]",
            "fallback_latency_seconds{chain_name=chain,provider_name=ml_service} [0.05, 0.05]",
            "fallback_latency_seconds{chain_name=chain,provider_name=static} [0.05, 0.4]",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_chain_in_a_handler_counts_as_one_behind_a_layer() {
    let recorded = Recorded::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    let chain = FallbackChain::<u32, u32>::builder("prices")
        .provider(Provider::from_fn(name!("live"), |n: u32| async move { if n > 0 { Ok(n) } else { Err("closed") } }))
        .fail_safe(9)
        .build()
        .unwrap();
    chain.execute(7).await;
    chain.execute(0).await;
    assert_eq!(
        recorded.shown(),
        [
            "fallback_activations_total{chain_name=prices,provider_name=default} [1.0]",
            "fallback_latency_seconds{chain_name=prices,provider_name=default} [0.0]",
            "fallback_latency_seconds{chain_name=prices,provider_name=live} [0.0]",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_counts_from_then_on() {
    let layer = FallbackLayer::new(name!("ml_service"), behind());
    ask(&layer, Some(503)).await;
    let recorded = Recorded::default();
    let _here = metrics::set_default_local_recorder(&recorded);
    ask(&layer, Some(503)).await;
    assert_eq!(recorded.shown()[0], "fallback_activations_total{chain_name=chain,provider_name=static} [1.0]");
}
