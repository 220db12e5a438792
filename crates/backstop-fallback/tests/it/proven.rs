//! When each provider last answered, and who asked it.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use axum::response::Response;
use backstop_core::{Inspect, Outcome, Reason, Rejection, Value, name};
use backstop_fallback::{FallbackChain, FallbackHandle, FallbackLayer, ProvenBy, Provider};
use backstop_test::Scripted;
use tokio::time::advance;
use tower::{Layer, ServiceExt};

use crate::common::*;

/// By provider: so many hours after this, and by whom.
fn last(handle: &FallbackHandle, since: u64) -> Vec<(String, Option<(u64, ProvenBy)>)> {
    let last = handle.status().last_proven.into_iter();
    last.map(|(provider, last)| (provider.to_string(), last.map(|last| ((last.at - since) / 3600, last.by)))).collect()
}

#[tokio::test(start_paused = true)]
async fn a_provider_is_proven_by_each_way_it_answers_and_by_nothing_else() {
    let replica = Scripted::<Req, Response>::statuses([500, 200, 200, 500, 200]);
    let chain = FallbackChain::builder("chain")
        .total(TOTAL)
        .provider(Provider::service(name!("replica"), replica.clone()))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let handle = layer.handle();
    let built = handle.status().last_proven[1].1.unwrap().at;
    assert!(built > 1_700_000_000, "a date of this century: {built}");
    let hour = async || advance(Duration::from_secs(3600)).await;
    let expect = |replica, fixed| {
        assert_eq!(last(&handle, built), [("replica".to_owned(), replica), ("static".to_owned(), fixed)]);
    };
    expect(None, Some((0, ProvenBy::Built)));

    // The replica fails, so the next one answers.
    hour().await;
    ask(&layer, Some(503)).await;
    expect(None, Some((1, ProvenBy::Activation)));
    hour().await;
    ask(&layer, Some(503)).await;
    expect(Some((2, ProvenBy::Activation)), Some((1, ProvenBy::Activation)));
    // The primary's own answers prove nothing of the others.
    hour().await;
    ask(&layer, Some(200)).await;
    expect(Some((2, ProvenBy::Activation)), Some((1, ProvenBy::Activation)));

    handle.force("replica", 1.0).unwrap();
    hour().await;
    ask(&layer, Some(200)).await;
    expect(Some((4, ProvenBy::Forced)), Some((1, ProvenBy::Activation)));
    hour().await;
    ask(&layer, Some(200)).await;
    expect(Some((4, ProvenBy::Forced)), Some((1, ProvenBy::Activation)));
    handle.stop_forcing();

    hour().await;
    layer.prove_each_provider(get()).await.unwrap();
    expect(Some((6, ProvenBy::Proof)), Some((6, ProvenBy::Proof)));
    assert_eq!(replica.calls(), 5);

    let at = handle.status().last_proven[0].1.unwrap().at;
    let shown = |provider: &str| {
        Value::Map(vec![("provider", provider.to_owned().into()), ("at", at.into()), ("by", "proof".into())])
    };
    let state = handle.state();
    let proven = state.iter().find(|(field, _)| *field == "last_proven").map(|(_, value)| value);
    assert_eq!(proven, Some(&Value::List(vec![shown("replica"), shown("static")])));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_that_ends_the_chain_proves_nothing() {
    let ended = Rejection::new(name!("queue"), Reason::ERROR, Outcome::failure().ending_chain());
    let refuses = Provider::value(name!("queue"), move || {
        let mut answer = status(503);
        answer.extensions_mut().insert(ended.clone());
        async { answer }
    });
    let chain = FallbackChain::builder("chain").provider(refuses).build().unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    let answer = layer.layer(Scripted::<Req, Response>::statuses([502])).oneshot(get()).await.unwrap();
    assert_eq!(answer.status(), 503);
    assert_eq!(layer.handle().status().last_proven[0].1.map(|last| last.by), Some(ProvenBy::Built));
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn a_dashboard_sees_when_each_provider_was_last_proven_and_nothing_before() {
    use backstop_test::Metrics;

    let metrics = Metrics::new();
    let seen = |provider| {
        metrics.gauge("fallback_last_proven_seconds", &[("chain_name", "chain"), ("provider_name", provider)])
    };
    let replica = Scripted::<Req, Response>::statuses([200]);
    let chain = FallbackChain::builder("chain")
        .provider(Provider::service(name!("replica"), replica))
        .provider(says(name!("static")))
        .build()
        .unwrap();
    let layer = FallbackLayer::new(name!("primary"), chain);
    // The recorder comes later than the chain.
    let _guard = metrics.listen();
    assert_eq!((seen("replica"), seen("static")), (None, None));
    let built = layer.handle().status().last_proven[1].1.unwrap().at;
    assert_eq!((seen("replica"), seen("static")), (None, Some(built as f64)));
    advance(Duration::from_secs(60)).await;
    ask(&layer, Some(503)).await;
    assert_eq!(seen("replica"), Some((built + 60) as f64));
}
