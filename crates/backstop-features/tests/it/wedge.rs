//! Features and the health of the service: what the level sheds must not keep the level down.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
};

use axum::{body::Body, response::Response};
use backstop_circuit_breaker::CircuitBreakerLayer;
use backstop_features::{FeatureLayer, FeatureState, Features, Level, MemoryStore};
use backstop_health::{Component, ComponentState, Health, Readiness};
use http::Request;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

use crate::common::{Breakable, REVIEWS, SEARCH, Trouble, secs, shop, state};

#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
fn spawn(health: &Health, features: &Features) {
    tokio::spawn(health.run());
    tokio::spawn(features.run());
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_recovers_brings_back_the_feature_that_its_outage_shed() {
    let wait = secs(60);
    let circuit = CircuitBreakerLayer::builder("reviews_api").wait(wait).success_threshold(1).build().unwrap();
    let health =
        Health::builder().component(Component::essential("reviews_api").circuit(circuit.handle())).build().unwrap();
    let features = shop().health(&health).build().unwrap();
    spawn(&health, &features);

    let (is_up, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
    let (up, called) = (Arc::clone(&is_up), Arc::clone(&calls));
    let api = service_fn(move |_: Request<Body>| {
        called.fetch_add(1, Relaxed);
        let status = if up.load(Relaxed) { 200 } else { 503 };
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap()) }
    });
    // The feature is the only one that calls the dependency.
    let feature = FeatureLayer::new(features.gate(&REVIEWS).unwrap());
    let stack = ServiceBuilder::new().layer(feature).layer(circuit.clone()).service(api);
    let ask = || stack.clone().oneshot(Request::new(Body::empty()));

    for _ in 0..20 {
        _ = ask().await;
        sleep(secs(1)).await;
    }
    assert_eq!(health.level(), Level::Degraded);
    assert_eq!(state(&features, &REVIEWS), FeatureState::Disabled);
    assert!(calls.load(Relaxed) >= 5);

    is_up.store(true, Relaxed);
    let recovered = Instant::now();
    // The wait, a probe of the feature, the level's damping, and how often circuits and levels are read. The feature's own
    // errors have degraded it, too, for 300 s and four steps.
    let by_level = wait + secs(12) + secs(30) + secs(2);
    while health.level() != Level::Healthy {
        assert!(recovered.elapsed() <= by_level, "the level is {:?}", health.level());
        _ = ask().await;
        sleep(secs(1)).await;
    }
    while state(&features, &REVIEWS) != FeatureState::Enabled {
        assert!(recovered.elapsed() <= secs(300 + 4 * 60 + 2));
        _ = ask().await;
        sleep(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_does_not_mind_errors_is_back_with_the_level() {
    let circuit = CircuitBreakerLayer::builder("reviews_api").success_threshold(1).build().unwrap();
    let health =
        Health::builder().component(Component::essential("reviews_api").circuit(circuit.handle())).build().unwrap();
    let features = Features::builder().declare(REVIEWS.nice_to_have().ignore_errors()).health(&health).build().unwrap();
    spawn(&health, &features);
    let is_up = Arc::new(AtomicBool::new(false));
    let up = Arc::clone(&is_up);
    let api = service_fn(move |_: Request<Body>| {
        let status = if up.load(Relaxed) { 200 } else { 503 };
        async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap()) }
    });
    let stack = FeatureLayer::new(features.gate(&REVIEWS).unwrap()).layer(circuit.layer(api));
    for _ in 0..20 {
        _ = stack.clone().oneshot(Request::new(Body::empty())).await;
        sleep(secs(1)).await;
    }
    assert_eq!(state(&features, &REVIEWS), FeatureState::Disabled);
    is_up.store(true, Relaxed);
    let recovered = Instant::now();
    while state(&features, &REVIEWS) != FeatureState::Enabled {
        assert!(recovered.elapsed() <= secs(60 + 12 + 30 + 2), "wait, probe, damping, reading");
        _ = stack.clone().oneshot(Request::new(Body::empty())).await;
        sleep(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn trouble_with_the_store_is_a_degraded_component_that_moves_no_level() {
    let health = Health::builder()
        .component(Component::essential("database"))
        .component(Component::optional("feature_store"))
        .build()
        .unwrap();
    let store = Breakable::default();
    let features = shop().flags(store.clone()).health(&health).store_component("feature_store").build().unwrap();
    health.report("database", Level::Healthy, "", secs(3_600)).unwrap();
    assert_eq!(health.readiness(), Readiness::Starting, "the flags weren't read");
    spawn(&health, &features);
    sleep(secs(2)).await;
    assert_eq!(health.readiness(), Readiness::Ready);
    let shown = health.component("feature_store").unwrap();
    assert_eq!(shown.state(), ComponentState::Healthy);

    store.set(Trouble::Refuses);
    sleep(secs(600)).await;
    assert_eq!(shown.state(), ComponentState::Degraded);
    assert_eq!(health.level(), Level::Healthy);
    assert!(features.is_enabled(&SEARCH) && features.is_enabled(&REVIEWS));
    store.set(Trouble::None);
    sleep(secs(3)).await;
    assert_eq!(shown.state(), ComponentState::Healthy);
}

#[test]
fn the_store_must_not_be_an_essential_component() {
    let health = Health::builder().component(Component::essential("store")).build().unwrap();
    for name in ["store", "unknown"] {
        let error = shop().flags(MemoryStore::new()).health(&health).store_component(name).build().unwrap_err();
        assert_eq!((error.field.as_ref(), error.value.as_str()), ("store_component", name));
    }
    let needy = Features::builder().declare(SEARCH.core().needs(backstop_core::name!("db"))).health(&health);
    assert_eq!(needy.build().unwrap_err().field, "needs");
}

#[tokio::test(start_paused = true)]
async fn a_feature_does_not_flap_when_a_report_about_its_component_ends() {
    let health = Health::builder().component(Component::optional("api")).build().unwrap();
    let declaration = SEARCH.standard().needs(backstop_core::name!("api"));
    let features = Features::builder().declare(declaration).health(&health).build().unwrap();
    spawn(&health, &features);
    health.report("api", Level::Degraded, "slow", secs(10)).unwrap();
    sleep(secs(5)).await;
    assert_eq!(state(&features, &SEARCH), FeatureState::Degraded);
    let mut changes = Vec::new();
    for _ in 0..240 {
        sleep(secs(1) / 2).await;
        let now = state(&features, &SEARCH);
        if changes.last() != Some(&now) {
            changes.push(now);
        }
    }
    assert_eq!(changes, [FeatureState::Degraded, FeatureState::Enabled]);
}
