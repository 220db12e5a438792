//! What a dashboard shows.
#![cfg(feature = "metrics")]
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::response::Response;
use backstop_core::name;
use backstop_fallback::{FallbackChain, FallbackLayer, Provider};
use backstop_test::Metrics;

use crate::common::*;

fn without_dates(metrics: &Metrics) -> Vec<String> {
    let dates = ["fallback_degraded_since_seconds", "fallback_last_proven_seconds"];
    metrics.lines().into_iter().filter(|line| !dates.iter().any(|date| line.starts_with(date))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_dashboard_sees_since_when_answers_are_degraded() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let since = || metrics.gauge("fallback_degraded_since_seconds", &[("chain_name", "chain")]);
    let layer = FallbackLayer::new(name!("ml_service"), behind());
    assert_eq!(since(), Some(0.0));
    ask(&layer, Some(503)).await;
    let began = since().unwrap();
    assert!(began > 1.7e9, "a date of this century: {began}");
    ask(&layer, Some(503)).await;
    assert_eq!(since(), Some(began));
    tokio::time::advance(Duration::from_secs(60)).await;
    ask(&layer, Some(200)).await;
    assert_eq!(since(), Some(0.0));
}

#[tokio::test(start_paused = true)]
async fn answers_activations_and_exhaustions_are_counted_by_configured_names() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
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
        without_dates(&metrics),
        [
            "fallback_activations_total{chain_name=chain,provider_name=static} 2",
            "fallback_exhausted_total{chain_name=exhausted} 2",
            "fallback_latency_seconds{chain_name=chain,provider_name=ml_service} [0.05, 0.05]",
            "fallback_latency_seconds{chain_name=chain,provider_name=static} [0.05, 0.4]",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_chain_in_a_handler_counts_as_one_behind_a_layer() {
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    let chain = FallbackChain::<u32, u32>::builder("prices")
        .provider(Provider::from_fn(name!("live"), |n: u32| async move { if n > 0 { Ok(n) } else { Err("closed") } }))
        .fail_safe(9)
        .build()
        .unwrap();
    chain.execute(7).await;
    chain.execute(0).await;
    assert_eq!(
        without_dates(&metrics),
        [
            "fallback_activations_total{chain_name=prices,provider_name=default} 1",
            "fallback_latency_seconds{chain_name=prices,provider_name=default} [0.0]",
            "fallback_latency_seconds{chain_name=prices,provider_name=live} [0.0]",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_recorder_that_is_installed_later_counts_from_then_on() {
    let layer = FallbackLayer::new(name!("ml_service"), behind());
    ask(&layer, Some(503)).await;
    let metrics = Metrics::new();
    let _guard = metrics.listen();
    ask(&layer, Some(503)).await;
    assert_eq!(metrics.lines()[0], "fallback_activations_total{chain_name=chain,provider_name=static} 1");
}
