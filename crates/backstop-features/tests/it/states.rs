//! The state of a feature: tiers, components, requests.

use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, routing::get};
use backstop_features::{
    Cause, Feature, FeatureScopeLayer, FeatureState, Features, FlagChange, InFeatureScope, Level, feature,
};
use backstop_test::Logs;
use http::Request;
use tokio::time::sleep;
use tower::ServiceExt;

use crate::common::{CHECKOUT, Dial, REVIEWS, SEARCH, drive, secs, shop, state};

fn states(features: &Features) -> [FeatureState; 3] {
    [&CHECKOUT, &SEARCH, &REVIEWS].map(|feature| state(features, feature))
}

const ON: FeatureState = FeatureState::Enabled;
const OFF: FeatureState = FeatureState::Disabled;

#[tokio::test(start_paused = true)]
async fn the_level_sheds_features_by_their_tiers_and_brings_them_back() {
    let dial = Dial::default();
    let features = shop().level(dial.source()).build().unwrap();
    drive(&features).await;
    assert_eq!(states(&features), [ON, ON, ON]);
    dial.set(Level::Degraded);
    sleep(secs(1)).await;
    assert_eq!(states(&features), [ON, ON, OFF]);
    assert_eq!(features.handle().get(&REVIEWS).unwrap().cause, Cause::Level);
    dial.set(Level::Critical);
    sleep(secs(1)).await;
    assert_eq!(states(&features), [ON, OFF, OFF]);
    dial.set(Level::Healthy);
    sleep(secs(1)).await;
    assert_eq!(states(&features), [ON, ON, ON]);
}

#[tokio::test(start_paused = true)]
async fn a_feature_follows_the_worst_component_that_it_needs() {
    static PAGE: Feature = feature!("page");
    let states = Arc::new(Mutex::new([Some(Level::Healthy), Some(Level::Healthy)]));
    let of = Arc::clone(&states);
    let features = Features::builder()
        .declare(PAGE.standard().needs("api").needs("index"))
        .components(move |name| of.lock().unwrap()[usize::from(*name == "index")])
        .build()
        .unwrap();
    drive(&features).await;
    for (api, index, expected) in [
        (Some(Level::Healthy), Some(Level::Healthy), FeatureState::Enabled),
        (Some(Level::Healthy), Some(Level::Degraded), FeatureState::Degraded),
        (Some(Level::Critical), Some(Level::Degraded), FeatureState::Disabled),
        (None, Some(Level::Degraded), FeatureState::Degraded),
        (None, None, FeatureState::Enabled),
    ] {
        *states.lock().unwrap() = [api, index];
        sleep(secs(1)).await;
        assert_eq!(state(&features, &PAGE), expected, "{api:?} {index:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_must_be_known_is_off_while_a_component_is_unknown() {
    static PAGE: Feature = feature!("page");
    let index = Arc::new(Mutex::new(None));
    let of = Arc::clone(&index);
    let declaration = PAGE.standard().needs("api").off_unless_known();
    let features = Features::builder().declare(declaration).components(move |_| *of.lock().unwrap()).build().unwrap();
    assert_eq!(features.state(&PAGE), FeatureState::Disabled);
    drive(&features).await;
    assert_eq!(state(&features, &PAGE), FeatureState::Disabled);
    assert_eq!(features.handle().get(&PAGE).unwrap().cause, Cause::Unknown);
    for _ in 0..100 {
        sleep(secs(10)).await;
        assert!(!features.is_enabled(&PAGE), "no probe");
    }
    *index.lock().unwrap() = Some(Level::Healthy);
    sleep(secs(1)).await;
    assert_eq!(features.state(&PAGE), FeatureState::Enabled);
}

#[tokio::test(start_paused = true)]
async fn what_is_shed_lets_one_call_in_ten_seconds_through() {
    let dial = Dial::default();
    dial.set(Level::Degraded);
    let features = shop().level(dial.source()).build().unwrap();
    drive(&features).await;
    let mut probes = 0;
    // 10 calls a second.
    for _ in 0..6_000 {
        sleep(secs(1) / 10).await;
        probes += u32::from(features.is_enabled(&REVIEWS));
    }
    assert!((48..=76).contains(&probes), "{probes} probes in 600 s");
}

#[tokio::test(start_paused = true)]
async fn what_an_operator_turned_off_lets_nothing_through() {
    let features = shop().build().unwrap();
    features.handle().set(&REVIEWS, FlagChange::disable("ada", "broken")).await.unwrap();
    for _ in 0..100 {
        sleep(secs(10)).await;
        assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
    }
}

#[tokio::test]
async fn a_request_sees_one_state_of_a_feature() {
    let features = shop().build().unwrap();
    let handler_features = features.clone();
    let handler = move || async move {
        let first = handler_features.state(&REVIEWS);
        handler_features.handle().set(&REVIEWS, FlagChange::disable("ada", "broken")).await.unwrap();
        // Other requests and features aren't concerned.
        tokio::task::yield_now().await;
        format!("{first} {} {}", handler_features.state(&REVIEWS), handler_features.state(&SEARCH))
    };
    let app: Router = Router::new().route("/", get(handler)).layer(FeatureScopeLayer::new());
    let ask = || async {
        let response = app.clone().oneshot(Request::new(Body::empty())).await.unwrap();
        String::from_utf8(axum::body::to_bytes(response.into_body(), 100).await.unwrap().to_vec()).unwrap()
    };
    assert_eq!(ask().await, "enabled enabled enabled");
    assert_eq!(features.state(&REVIEWS), FeatureState::Disabled, "outside");
    assert_eq!(ask().await, "disabled disabled enabled", "the next request");
}

#[tokio::test]
async fn requests_that_take_turns_on_a_thread_see_their_own_states_of_many_features() {
    let names: Vec<_> = (0..20).map(|i| Feature::new(format!("many-{i}").parse().unwrap())).collect();
    let builder = names.iter().fold(Features::builder(), |builder, feature| builder.declare(feature.standard()));
    let features = builder.build().unwrap();
    let enabled = || names.iter().filter(|feature| features.is_enabled(feature)).count();
    let request = || {
        async {
            let first = enabled();
            for _ in 0..5 {
                tokio::task::yield_now().await;
            }
            (first, enabled())
        }
        .in_feature_scope()
    };
    let operator = async {
        for feature in &names {
            features.handle().set(feature, FlagChange::disable("ada", "broken")).await.unwrap();
        }
        request().await
    };
    let (early, late) = tokio::join!(request(), operator);
    assert_eq!((early, late), ((20, 20), (0, 0)));
}

#[test]
fn a_feature_that_is_not_declared_is_off_and_reported_once() {
    static FORGOTTEN: Feature = feature!("forgotten");
    let logs = Logs::new();
    let _guard = logs.listen();
    let features = shop().build().unwrap();
    assert!(!features.is_enabled(&FORGOTTEN) && !features.is_enabled(&FORGOTTEN));
    assert_eq!(logs.events().at(tracing::Level::ERROR).only().field("feature"), Some("forgotten"));
    assert_eq!(features.gate(&FORGOTTEN).unwrap_err().field.as_ref(), "feature");
}

#[test]
fn two_statics_of_one_name_are_one_feature() {
    static ALSO_REVIEWS: Feature = feature!("reviews");
    assert!(shop().build().unwrap().is_enabled(&ALSO_REVIEWS));
    let twice = shop().declare(ALSO_REVIEWS.core()).build().unwrap_err();
    assert_eq!((twice.field.as_ref(), twice.value.as_str()), ("features", "reviews"));
}
