//! Features and the health of the service: what the level sheds must not keep the level down.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{body::Body, response::Response};
use backstop_circuit_breaker::CircuitBreakerLayer;
use backstop_core::name;
use backstop_features::{
    Cause, CountReport, CountStore, FeatureConfig, FeatureLayer, FeatureState, Features, FeaturesBuilder, Level,
    MemoryStore,
};
use backstop_health::{Component, ComponentState, Health, Readiness};
use backstop_test::assert_property;
use http::Request;
use proptest::prelude::*;
use tokio::time::{Instant, sleep};
use tower::{ServiceBuilder, ServiceExt, service_fn, util::BoxCloneSyncService};

use crate::common::{Breakable, Failure, REVIEWS, SEARCH, fail, secs, shop, state};

#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
fn spawn(health: &Health, features: &Features) {
    tokio::spawn(health.run());
    tokio::spawn(features.run());
}

/// A feature that is the only one to call a dependency, whose circuit is a component of health. All settings are the defaults.
struct Outage {
    health: Health,
    features: Features,
    stack: Ask,
    is_up: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
}

type Ask = BoxCloneSyncService<Request<Body>, Response, Infallible>;

/// The circuit's wait, two probes of the feature that close it, the damping, and how often health and features are read.
const BOUND: Duration = secs(60 + 2 * 12 + 30 + 2);

impl Outage {
    /// The dependency is down. It is called once a second, for long enough that its circuit opens, even if the fleet degrades the
    /// feature first, so that only probes come through.
    async fn begin(component: Component, feature: FeatureConfig, counts: Option<MemoryStore>) -> Self {
        let outage = Self::new(component, feature, counts);
        outage.go_on(40).await;
        outage
    }

    /// The dependency is up.
    fn new(component: Component, feature: FeatureConfig, counts: Option<MemoryStore>) -> Self {
        let circuit = CircuitBreakerLayer::new(name!("reviews_api"));
        let health = Health::builder().component(component.circuit(circuit.handle())).build().unwrap();
        let builder = Features::builder().declare(feature).health(&health);
        let features = counts.into_iter().fold(builder, FeaturesBuilder::counts).build().unwrap();
        spawn(&health, &features);
        let (is_up, calls) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
        let (up, called) = (Arc::clone(&is_up), Arc::clone(&calls));
        let api = service_fn(move |_: Request<Body>| {
            called.fetch_add(1, Relaxed);
            let status = if up.load(Relaxed) { 200 } else { 503 };
            async move { Ok::<_, Infallible>(Response::builder().status(status).body(Body::empty()).unwrap()) }
        });
        let layer = FeatureLayer::new(features.gate(&REVIEWS).unwrap());
        let stack = ServiceBuilder::new().layer(layer).layer(circuit).service(api);
        Self { health, features, stack: BoxCloneSyncService::new(stack), is_up, calls }
    }

    /// The dependency is down for so many seconds.
    async fn go_on(&self, seconds: u32) {
        self.is_up.store(false, Relaxed);
        self.calls.store(0, Relaxed);
        for _ in 0..seconds {
            self.second().await;
        }
        assert!(self.calls.load(Relaxed) >= 5, "the circuit has opened");
    }

    /// The dependency is up for so many seconds, and so is the feature.
    async fn stay_on(&self, seconds: u32) {
        for _ in 0..seconds {
            self.second().await;
            assert_eq!(self.cause(), Cause::None);
        }
    }

    async fn second(&self) {
        _ = self.stack.clone().oneshot(Request::new(Body::empty())).await;
        sleep(secs(1)).await;
    }

    fn cause(&self) -> Cause {
        self.features.handle().get(&REVIEWS).unwrap().cause
    }

    /// The dependency is up again. Returns how long it takes until the feature is on, without any steps.
    async fn recover(&self) -> Duration {
        self.is_up.store(true, Relaxed);
        let recovered = Instant::now();
        while state(&self.features, &REVIEWS) != FeatureState::Enabled {
            assert_ne!(self.cause(), Cause::Errors);
            assert!(recovered.elapsed() < secs(600), "it is kept off by {}", self.cause());
            self.second().await;
        }
        recovered.elapsed()
    }
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_recovers_brings_back_the_feature_that_its_outage_shed_by_the_level() {
    let outage = Outage::begin(Component::essential("reviews_api"), REVIEWS.nice_to_have(), None).await;
    assert_eq!((outage.health.level(), outage.cause()), (Level::Degraded, Cause::Level));
    let took = outage.recover().await;
    assert!(took <= BOUND, "{took:?}");
    assert_eq!(outage.health.level(), Level::Healthy);
}

#[tokio::test(start_paused = true)]
async fn a_dependency_that_recovers_brings_back_the_feature_that_needs_it() {
    let feature = REVIEWS.standard().needs("reviews_api");
    let outage = Outage::begin(Component::optional("reviews_api"), feature, None).await;
    assert_eq!((outage.health.level(), outage.cause()), (Level::Healthy, Cause::Component));
    let took = outage.recover().await;
    assert!(took <= BOUND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn the_fleet_does_not_degrade_a_feature_for_an_outage_that_is_over() {
    let store = MemoryStore::new();
    let begin = || {
        let feature = REVIEWS.standard().needs("reviews_api");
        Outage::begin(Component::optional("reviews_api"), feature, Some(store.clone()))
    };
    let (one, two, three) = tokio::join!(begin(), begin(), begin());
    let (first, second, third) = tokio::join!(one.recover(), two.recover(), three.recover());
    assert!([first, second, third].iter().all(|took| *took <= BOUND), "{first:?} {second:?} {third:?}");
    tokio::join!(one.stay_on(300), two.stay_on(300), three.stay_on(300));
}

#[tokio::test(start_paused = true)]
async fn an_instance_that_the_fleet_degraded_first_is_on_again_with_its_component() {
    let store = MemoryStore::new();
    let feature = REVIEWS.standard().needs("reviews_api");
    let outage = Outage::new(Component::optional("reviews_api"), feature, Some(store.clone()));
    for _ in 0..5 {
        for instance in ["other", "another"] {
            store.report(instance, &[CountReport::new(name!("reviews"), 10, 10)]).await.unwrap();
        }
        outage.second().await;
    }
    assert_eq!(outage.cause(), Cause::Errors, "without an error of its own");
    outage.go_on(80).await;
    assert_eq!(outage.cause(), Cause::Component);
    let took = outage.recover().await;
    assert!(took <= BOUND, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_feature_whose_own_errors_go_on_degrades_once_its_component_is_healthy() {
    let outage = Outage::begin(Component::optional("reviews_api"), REVIEWS.standard().needs("reviews_api"), None).await;
    outage.recover().await;
    fail(&outage.features, &REVIEWS, 5);
    assert_eq!(outage.cause(), Cause::Errors);
    assert_eq!(outage.features.handle().get(&REVIEWS).unwrap().remaining, Some(secs(300)), "the first time");
}

#[tokio::test(start_paused = true)]
async fn a_failing_store_is_a_degraded_component_that_moves_no_level() {
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

    store.set(Failure::Refuses);
    sleep(secs(600)).await;
    assert_eq!(shown.state(), ComponentState::Degraded);
    assert_eq!(health.level(), Level::Healthy);
    assert!(features.is_enabled(&SEARCH) && features.is_enabled(&REVIEWS));
    store.set(Failure::None);
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
    let needy = Features::builder().declare(SEARCH.core().needs("db")).health(&health);
    assert_eq!(needy.build().unwrap_err().field, "features.search.needs");
}

#[tokio::test(start_paused = true)]
async fn a_feature_does_not_flap_when_a_report_about_its_component_ends() {
    let health = Health::builder().component(Component::optional("api")).build().unwrap();
    let declaration = SEARCH.standard().needs("api");
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

/// Outages of a dependency, one after the other, that three instances see together. They count errors together, too.
async fn outages(is_needed: bool, outages: Vec<(u32, u32)>) {
    let store = MemoryStore::new();
    let begin = || {
        let (component, feature) = if is_needed {
            (Component::optional("reviews_api"), REVIEWS.standard().needs("reviews_api"))
        } else {
            (Component::essential("reviews_api"), REVIEWS.nice_to_have())
        };
        Outage::begin(component, feature, Some(store.clone()))
    };
    let (one, two, three) = tokio::join!(begin(), begin(), begin());
    // Health waits for longer after a relapse: up to 300 s instead of 30.
    let bound = BOUND + secs(270);
    for (down, up) in outages {
        let (first, second, third) = tokio::join!(one.recover(), two.recover(), three.recover());
        assert!([first, second, third].iter().all(|took| *took <= bound), "{first:?} {second:?} {third:?}");
        tokio::join!(one.stay_on(up), two.stay_on(up), three.stay_on(up));
        tokio::join!(one.go_on(down), two.go_on(down), three.go_on(down));
    }
}

#[test]
fn a_feature_is_on_again_with_its_component_after_any_outages() {
    let cases = (any::<bool>(), prop::collection::vec((40..200_u32, 0..700_u32), 1..4));
    // Each case is an hour of simulated time, on three instances.
    assert_property(32, &cases, |(is_needed, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(outages(is_needed, steps));
    });
}
