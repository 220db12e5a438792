//! Degradation by errors, on one instance.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::sync::{Arc, Mutex};

use backstop_core::{Outcome, Reason, Rejection, Scope, name, scope};
use backstop_features::{Cause, DegradeOnErrors, FeatureState, Features, Level};
use tokio::time::sleep;

use crate::common::{Breakable, CHECKOUT, Failure, REVIEWS, SEARCH, drive, fail, secs, shop, succeed};

fn cause(features: &Features) -> Cause {
    features.handle().get(&SEARCH).unwrap().cause
}

#[tokio::test(start_paused = true)]
async fn five_errors_that_are_five_percent_degrade_a_feature_at_once() {
    let features = shop().build().unwrap();
    fail(&features, &SEARCH, 4);
    assert!(features.is_enabled(&SEARCH));
    fail(&features, &SEARCH, 1);
    assert_eq!(features.state(&SEARCH), FeatureState::Degraded);
    assert!(features.is_enabled(&REVIEWS), "no other feature");
}

#[tokio::test(start_paused = true)]
async fn fewer_than_five_percent_degrade_nothing() {
    let features = shop().build().unwrap();
    fail(&features, &SEARCH, 1);
    succeed(&features, &SEARCH, 200);
    fail(&features, &SEARCH, 5);
    assert!(features.is_enabled(&SEARCH));
}

#[tokio::test(start_paused = true)]
async fn core_features_and_refusals_of_our_own_layers_count_nothing() {
    let features = shop().build().unwrap();
    fail(&features, &CHECKOUT, 1_000);
    assert!(features.is_enabled(&CHECKOUT));
    let refused = Rejection::refused(name!("api"), Reason::CIRCUIT_OPEN).outcome();
    (0..1_000).for_each(|_| features.record(&SEARCH, &refused));
    assert!(features.is_enabled(&SEARCH));
    (0..1_000).for_each(|_| features.record(&SEARCH, &Outcome::callers_fault()));
    assert!(features.is_enabled(&SEARCH));
}

#[tokio::test(start_paused = true)]
async fn failures_in_a_scope_that_an_injected_fault_has_hit_count_nothing() {
    let features = shop().build().unwrap();
    let mut request = Scope::new();
    request.enter(|| Scope::new().enter(|| scope::inject_fault(|| ())));
    request.enter(|| fail(&features, &SEARCH, 1_000));
    assert!(features.is_enabled(&SEARCH));
    // What is inside of a delayed call.
    scope::inject_fault(|| Scope::new().enter(|| fail(&features, &SEARCH, 1_000)));
    assert!(features.is_enabled(&SEARCH));
    fail(&features, &SEARCH, 5);
    assert!(!features.is_enabled(&SEARCH));
}

#[tokio::test(start_paused = true)]
async fn a_degraded_feature_returns_in_steps_even_without_a_driver() {
    let features = shop().build().unwrap();
    fail(&features, &SEARCH, 5);
    sleep(secs(301)).await;
    for share in [0.01, 0.05, 0.25, 0.5] {
        let enabled = (0..20_000).filter(|_| features.is_enabled(&SEARCH)).count();
        let expected = 20_000.0 * share;
        assert!((enabled as f64 - expected).abs() < 5.0 * expected.sqrt(), "{enabled} of 20,000 at {share}");
        assert_eq!(features.handle().get(&SEARCH).unwrap().share, Some(share));
        succeed(&features, &SEARCH, 10);
        sleep(secs(10)).await;
    }
    assert!((0..1_000).all(|_| features.is_enabled(&SEARCH)));
    assert_eq!(cause(&features), Cause::None);
}

#[tokio::test(start_paused = true)]
async fn an_idle_feature_returns_by_itself() {
    let features = shop().build().unwrap();
    drive(&features).await;
    fail(&features, &SEARCH, 5);
    sleep(secs(300 + 4 * 60 + 2)).await;
    assert_eq!(cause(&features), Cause::None);
}

#[tokio::test(start_paused = true)]
async fn a_relapse_on_the_way_back_doubles_the_time() {
    let features = shop().build().unwrap();
    fail(&features, &SEARCH, 5);
    sleep(secs(301)).await;
    assert_eq!(cause(&features), Cause::Recovering);
    fail(&features, &SEARCH, 5);
    let status = features.handle().get(&SEARCH).unwrap();
    assert_eq!(status.cause, Cause::Errors);
    assert_eq!(status.remaining.unwrap().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn errors_of_probes_do_not_prolong_a_degradation() {
    let features = shop().build().unwrap();
    fail(&features, &SEARCH, 5);
    sleep(secs(100)).await;
    fail(&features, &SEARCH, 100);
    assert_eq!(features.handle().get(&SEARCH).unwrap().remaining.unwrap().as_secs(), 200);
}

#[tokio::test(start_paused = true)]
async fn what_was_counted_longer_than_a_window_ago_is_not_reported() {
    let store = Breakable::default();
    let declaration = || SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().window(secs(5)));
    let instance =
        || Features::builder().declare(declaration()).counts(store.clone()).store_timeout(secs(10)).build().unwrap();
    let (one, other) = (instance(), instance());
    drive(&one).await;
    store.set(Failure::Hangs);
    succeed(&one, &SEARCH, 1);
    sleep(secs(2)).await;
    // A report hangs for 10 s. When it has failed, these errors are old.
    fail(&one, &SEARCH, 4);
    sleep(secs(6)).await;
    store.set(Failure::None);
    drive(&other).await;
    sleep(secs(2)).await;
    fail(&other, &SEARCH, 1);
    for _ in 0..5 {
        [&one, &other].iter().for_each(|features| succeed(features, &SEARCH, 1));
        sleep(secs(1)).await;
    }
    assert_eq!((cause(&one), cause(&other)), (Cause::None, Cause::None), "1 error, not 5");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_is_unknown_for_a_moment_does_not_end_a_degradation() {
    let component = Arc::new(Mutex::new(Some(Level::Healthy)));
    let of = Arc::clone(&component);
    let features = Features::builder()
        .declare(SEARCH.standard().needs("api").off_unless_known())
        .components(move |_| *of.lock().unwrap())
        .build()
        .unwrap();
    drive(&features).await;
    fail(&features, &SEARCH, 5);
    for (level, expected) in [(None, Cause::Unknown), (Some(Level::Healthy), Cause::Errors)] {
        *component.lock().unwrap() = level;
        sleep(secs(5)).await;
        assert_eq!(cause(&features), expected);
    }
}
