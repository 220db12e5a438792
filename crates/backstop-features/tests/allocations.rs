//! What asking for a feature and calling it allocate: nothing; and what 1,000 features take. One test, since the count is the process's.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    alloc::System,
    convert::Infallible,
    future::ready,
    pin::pin,
    task::{Context, Poll, Waker},
};

use backstop_core::scope;
use backstop_features::{Feature, FeatureLayer, Features, InFeatureScope, feature};
use http::{Request, Response};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tower::{Layer, Service, service_fn};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

static REVIEWS: Feature = feature!("reviews");

fn many() -> Features {
    let features: Vec<_> = (0..999).map(|i| Feature::new(format!("feature-{i}").parse().unwrap())).collect();
    let builder = features.iter().fold(Features::builder(), |builder, feature| builder.declare(feature.standard()));
    builder.declare(REVIEWS.standard()).build().unwrap()
}

/// The least of some, since the test's surroundings allocate, too.
fn allocations(mut one: impl FnMut()) -> usize {
    let mut counted = || {
        let region = Region::new(ALLOCATOR);
        one();
        let stats = region.change();
        stats.allocations + stats.reallocations
    };
    (0..10).map(|_| counted()).min().unwrap()
}

fn polled<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it is ready at once"),
    }
}

#[tokio::test]
async fn states_and_calls_allocate_nothing_and_a_thousand_features_take_less_than_a_mebibyte() {
    // Names get their numbers once in a process.
    drop(many());
    let region = Region::new(ALLOCATOR);
    let features = many();
    let stats = region.change();
    let taken = stats.bytes_allocated - stats.bytes_deallocated;
    assert!(taken < 1024 * 1024, "{taken} bytes");

    assert_eq!(allocations(|| assert!(features.is_enabled(&REVIEWS))), 0);
    let twice = || {
        let twice = async { features.is_enabled(&REVIEWS) && features.is_enabled(&REVIEWS) };
        assert!(polled(twice.in_feature_scope()));
    };
    assert_eq!(allocations(twice), 0);

    let layer = FeatureLayer::new(features.gate(&REVIEWS).unwrap());
    let mut service = layer.layer(service_fn(|_: Request<()>| ready(Ok::<_, Infallible>(Response::new(())))));
    // A request without headers and extensions allocates nothing itself.
    let call = || assert!(polled(service.call(Request::new(()))).is_ok());
    assert_eq!(allocations(call), 0);

    // Neither once a layer of faults is armed.
    scope::allow_injected_faults();
    let call = || assert!(polled(service.call(Request::new(()))).is_ok());
    assert_eq!(allocations(call), 0);
}
