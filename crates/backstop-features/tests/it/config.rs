//! Settings: from a builder, from a file, and changed while calls run.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{sync::Barrier, thread};

use backstop_core::Inspect;
use backstop_features::{
    Cause, ConfigError, DegradeOnErrors, FeatureConfig, FeatureLayer, FeatureState, Features, FeaturesConfig,
    FlagChange, Level, Tier,
};
use backstop_health::{Component, Health};
use tokio::time::sleep;

use crate::common::{Breakable, Dial, REVIEWS, SEARCH, drive, fail, secs, shop, state, succeed};

fn config(features: impl IntoIterator<Item = FeatureConfig>) -> FeaturesConfig {
    let mut config = FeaturesConfig::default();
    config.features.extend(features);
    config
}

fn refused(result: Result<impl Sized, ConfigError>) -> (String, String) {
    let error = result.err().unwrap();
    (error.field.into_owned(), error.value)
}

#[test]
fn a_builder_makes_a_config() {
    let builder = Features::builder()
        .declare(SEARCH.standard().needs("index").off_unless_known().ignore_errors())
        .instance("web-1")
        .store_component("redis")
        .store_timeout(secs(2))
        .poll_interval(secs(3));
    let mut search = FeatureConfig::new("search", Tier::Standard);
    search.needs = vec!["index".into()];
    search.off_unless_known = true;
    search.errors = Some(backstop_features::OnErrors::Ignore);
    let mut expected = config([search]);
    expected.instance = Some("web-1".into());
    expected.store_component = Some("redis".into());
    (expected.store_timeout, expected.poll_interval) = (secs(2), secs(3));
    assert_eq!(*builder.config(), expected);
    assert_eq!(*Features::builder().with_config(expected.clone()).config(), expected);
}

#[test]
fn bad_settings_are_refused_by_name() {
    use DegradeOnErrors as Rules;
    for (rules, field) in [
        (Rules::new().min_errors(0), "min_errors"),
        (Rules::new().share(0.0), "share"),
        (Rules::new().share(f64::NAN), "share"),
        (Rules::new().window(secs(0)), "window"),
        (Rules::new().time(secs(0)), "time"),
        (Rules::new().max_time(secs(1)), "max_time"),
    ] {
        let built = Features::from_config(config([SEARCH.standard().degrade_on_errors(rules)]));
        assert_eq!(refused(built).0, format!("features.search.errors.{field}"));
    }
    assert_eq!(refused(shop().store_timeout(secs(60)).build()).0, "store_timeout");
    assert_eq!(refused(shop().poll_interval(secs(0)).build()).0, "poll_interval");
    assert_eq!(refused(shop().instance("a b").build()).0, "instance");
    assert_eq!(refused(shop().declare(SEARCH.core()).build()), ("features".into(), "search".into()));
    assert_eq!(refused(shop().declare(FeatureConfig::new("a b", Tier::Core)).build()).0, "name");
    let health = Health::builder().component(Component::optional("index")).build().unwrap();
    for needs in ["no index", "other"] {
        let needy = Features::builder().declare(SEARCH.standard().needs(needs)).health(&health);
        assert_eq!(refused(needy.build()), ("features.search.needs".into(), needs.into()));
    }
    let without_health = Features::from_config(config([SEARCH.standard().needs("index")]));
    assert_eq!(refused(without_health).0, "features.search.needs");
}

#[tokio::test(start_paused = true)]
async fn a_reload_keeps_counts_flags_and_a_degradation() {
    let features = shop().build().unwrap();
    let operators = features.handle();
    operators.set(&REVIEWS, FlagChange::disable("ada", "broken")).await.unwrap();
    fail(&features, &SEARCH, 4);
    let mut changed = shop().config().clone();
    changed.features[1] = SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().time(secs(600)));
    operators.check(&changed).unwrap();
    operators.reload(changed.clone()).unwrap();
    fail(&features, &SEARCH, 1);
    let degraded = operators.get(&SEARCH).unwrap();
    assert_eq!((degraded.cause, degraded.remaining), (Cause::Errors, Some(secs(600))), "the four errors still count");

    changed.features[1] = SEARCH.standard().degrade_on_errors(DegradeOnErrors::new().time(secs(10)));
    operators.reload(changed.clone()).unwrap();
    sleep(secs(100)).await;
    assert_eq!(operators.get(&SEARCH).unwrap().remaining, Some(secs(500)), "a degradation keeps its end");
    assert_eq!(operators.get(&REVIEWS).unwrap().flag.unwrap().who(), "ada");

    changed.features[1] = SEARCH.standard().ignore_errors();
    operators.reload(changed).unwrap();
    assert!(features.is_enabled(&SEARCH));
    fail(&features, &SEARCH, 100);
    assert!(features.is_enabled(&SEARCH));
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_tiers_and_components_at_once() {
    let dial = Dial::default();
    dial.set(Level::Degraded);
    let features = Features::builder()
        .declare(SEARCH.standard())
        .level(dial.source())
        .components(|name| Some(if *name == "index" { Level::Critical } else { Level::Healthy }))
        .build()
        .unwrap();
    assert_eq!(state(&features, &SEARCH), FeatureState::Enabled);
    features.handle().reload(config([SEARCH.nice_to_have()])).unwrap();
    assert_eq!(features.handle().get(&SEARCH).unwrap().cause, Cause::Level);
    features.handle().reload(config([SEARCH.core().needs("index")])).unwrap();
    assert_eq!(features.handle().get(&SEARCH).unwrap().cause, Cause::Component);
    features.handle().reload(config([SEARCH.core().needs("cache")])).unwrap();
    assert_eq!(state(&features, &SEARCH), FeatureState::Enabled);
}

#[test]
fn of_two_reloads_at_once_one_wins_as_a_whole() {
    let features = Features::builder()
        .declare(SEARCH.standard())
        .components(|name| Some(if *name == "down" { Level::Critical } else { Level::Healthy }))
        .build()
        .unwrap();
    let off = config([SEARCH.standard().needs("down").ignore_errors()]);
    let counting = config([SEARCH.standard().needs("up")]);
    for _ in 0..1_000 {
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            for config in [&off, &counting] {
                let (features, barrier) = (&features, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    features.handle().reload(config.clone()).unwrap();
                });
            }
        });
        let is_off = state(&features, &SEARCH) == FeatureState::Disabled;
        fail(&features, &SEARCH, 5);
        let counts = features.handle().get(&SEARCH).unwrap().cause == Cause::Errors;
        assert_ne!(is_off, counts);
        features.handle().reload(off.clone()).unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_reload_changes_how_often_the_store_is_asked() {
    let store = Breakable::default();
    let features = shop().flags(store.clone()).build().unwrap();
    drive(&features).await;
    let mut config = shop().config().clone();
    config.poll_interval = secs(10);
    features.handle().reload(config).unwrap();
    sleep(secs(2)).await;
    let polls = || store.versions.load(std::sync::atomic::Ordering::Relaxed);
    let before = polls();
    sleep(secs(600)).await;
    assert!((50..=75).contains(&(polls() - before)), "{}", polls() - before);
}

#[test]
fn what_cannot_be_reloaded_changes_nothing() {
    let features = shop().instance("web-1").build().unwrap();
    let mut same = shop().config().clone();
    same.instance = Some("web-1".into());
    let with = |change: &dyn Fn(&mut FeaturesConfig)| {
        let mut config = same.clone();
        // It would be seen if it was applied.
        config.features[1].tier = Tier::Core;
        change(&mut config);
        assert_eq!(features.handle().check(&config), features.handle().reload(config.clone()));
        refused(features.handle().reload(config))
    };
    assert_eq!(with(&|config| config.instance = None), ("instance".into(), "none".into()));
    assert_eq!(with(&|config| config.store_component = Some("redis".into())).0, "store_component");
    assert_eq!(with(&|config| _ = config.features.pop()), ("features".into(), "reviews".into()));
    let other = FeatureConfig::new("other", Tier::Core);
    assert_eq!(with(&|config| config.features.push(other.clone())), ("features".into(), "other".into()));
    assert_eq!(with(&|config| config.store_timeout = secs(0)).0, "store_timeout");
    assert_eq!(with(&|config| config.features[0].needs.push("db".into())).0, "features.checkout.needs");
    assert_eq!(features.handle().get(&SEARCH).unwrap().tier, Tier::Standard);
}

#[test]
fn a_layers_handle_shows_its_feature() {
    let features = shop().build().unwrap();
    let handle = FeatureLayer::new(features.gate(&SEARCH).unwrap()).handle();
    assert_eq!((handle.name().as_str(), handle.kind()), ("search", "feature"));
    succeed(&features, &SEARCH, 1);
    (0..5).for_each(|_| handle.record(&backstop_core::Outcome::failure()));
    assert_eq!(handle.state(), FeatureState::Degraded);
}

#[cfg(feature = "serde")]
#[test]
fn it_can_be_read_from_a_file() {
    use backstop_test::assert_config_file;
    use proptest::prelude::*;

    let tiers = prop_oneof![Just(Tier::Core), Just(Tier::Standard), Just(Tier::NiceToHave)];
    let sample = (tiers, any::<bool>(), proptest::option::of(1..100_u64), 0..3_usize);
    let samples = proptest::collection::vec(sample, 0..4).prop_map(|samples| {
        let feature = |(i, (tier, ignores, errors, needs)): (usize, (Tier, bool, Option<u64>, usize))| {
            let mut feature = FeatureConfig::new(format!("feature-{i}"), tier);
            feature.needs = (0..needs).map(|need| format!("component-{need}").into()).collect();
            feature.off_unless_known = needs == 1;
            match errors {
                _ if ignores => feature.ignore_errors(),
                Some(errors) => feature.degrade_on_errors(DegradeOnErrors::new().min_errors(errors).share(0.5)),
                None => feature,
            }
        };
        let mut config = config(samples.into_iter().enumerate().map(feature));
        config.instance = config.features.first().map(|feature| feature.name.clone());
        config
    });
    let fields = &["instance", "store_component", "store_timeout", "poll_interval", "features"];
    assert_config_file("", &FeaturesConfig::default(), fields, samples, Features::from_config);
    let unknown = "[[features]]\nname = 'a'\ntier = 'core'\nneed = 'b'";
    assert!(toml::from_str::<FeaturesConfig>(unknown).unwrap_err().message().contains("unknown field `need`"));
}
