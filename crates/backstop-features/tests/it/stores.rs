//! Flags and counts in a store, and a store that fails.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{sync::atomic::Ordering::Relaxed, time::Duration};

use backstop_features::{
    Cause, Feature, FeatureState, Features, FlagChange, FlagStore, MemoryStore, Name, Reach, SetError, StoreError,
    StoredValue, feature,
};
use backstop_test::Logs;
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{Breakable, Failure, REVIEWS, SEARCH, drive, events_with, fail, secs, shop, state, succeed};

async fn instance(store: &Breakable) -> Features {
    let features = shop().flags(store.clone()).counts(store.clone()).build().unwrap();
    drive(&features).await;
    features
}

fn off() -> FlagChange {
    FlagChange::disable("ada", "broken")
}

#[tokio::test(start_paused = true)]
async fn another_instance_follows_within_two_seconds() {
    let store = Breakable::default();
    let (one, two) = (instance(&store).await, instance(&store).await);
    assert_eq!(one.handle().set(&REVIEWS, off()).await.unwrap(), Reach::Fleet);
    assert_eq!(one.state(&REVIEWS), FeatureState::Disabled, "at once");
    sleep(secs(2)).await;
    assert_eq!(two.state(&REVIEWS), FeatureState::Disabled);
    assert_eq!(two.handle().get(&REVIEWS).unwrap().flag.unwrap().who(), "ada");
    two.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    sleep(secs(2)).await;
    assert!(one.is_enabled(&REVIEWS) && two.is_enabled(&REVIEWS));
}

#[tokio::test(start_paused = true)]
async fn flags_are_read_when_the_version_moves_and_every_thirty_seconds() {
    let store = Breakable::default();
    let one = instance(&store).await;
    let counts = || (store.versions.load(Relaxed), store.reads.load(Relaxed));
    let (versions, reads) = counts();
    sleep(secs(300)).await;
    let (more_versions, more_reads) = counts();
    assert!((250..=375).contains(&(more_versions - versions)), "{}", more_versions - versions);
    assert!((9..=10).contains(&(more_reads - reads)), "{}", more_reads - reads);
    one.handle().set(&REVIEWS, off()).await.unwrap();
    sleep(secs(2)).await;
    assert_eq!(counts().1, more_reads + 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_or_hangs_changes_nothing_and_the_view_converges_afterwards() {
    for failure in [Failure::Refuses, Failure::Hangs] {
        let logs = Logs::new();
        let _guard = logs.listen();
        let store = Breakable::default();
        let (one, two) = (instance(&store).await, instance(&store).await);
        one.handle().set(&REVIEWS, off()).await.unwrap();
        sleep(secs(2)).await;

        store.set(failure);
        sleep(secs(600)).await;
        for features in [&one, &two] {
            assert_eq!(features.state(&REVIEWS), FeatureState::Disabled, "the view holds");
            assert!(features.is_enabled(&SEARCH));
            assert!(features.handle().store_error().is_some());
        }
        let began = Instant::now();
        let error = one.handle().set(&SEARCH, off()).await.unwrap_err();
        assert!(matches!(error, SetError::Store(_)), "{error}");
        assert!(began.elapsed() <= secs(1));
        assert!(one.is_enabled(&SEARCH), "nothing has changed");
        assert_eq!(events_with(&logs, "the store doesn't work").len(), 2, "once for each instance");

        store.set(Failure::None);
        one.handle().remove(&REVIEWS, "ada", "works").await.unwrap();
        sleep(secs(3)).await;
        assert!(two.is_enabled(&REVIEWS));
        assert_eq!(two.handle().store_error(), None);
    }
}

#[tokio::test(start_paused = true)]
async fn flags_that_disappear_are_held_to_their_end_and_logged_once() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = Breakable::default();
    let features = instance(&store).await;
    features.handle().set(&REVIEWS, off().until(secs(300))).await.unwrap();
    features.handle().set(&SEARCH, off()).await.unwrap();
    sleep(secs(2)).await;
    store.inner.clear();
    sleep(secs(120)).await;
    assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
    assert_eq!(features.state(&SEARCH), FeatureState::Disabled);
    assert_eq!(features.handle().store_error().unwrap(), "2 flags disappeared before their time");
    let warnings = events_with(&logs, "disappeared");
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].field("features"), Some("search, reviews"));

    sleep(secs(200)).await;
    assert!(features.is_enabled(&REVIEWS), "its time has come");
    assert_eq!(features.state(&SEARCH), FeatureState::Disabled);
    features.handle().remove(&SEARCH, "ada", "works").await.unwrap();
    sleep(secs(2)).await;
    assert!(features.is_enabled(&SEARCH));
    assert_eq!(features.handle().store_error(), None);
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_ends_in_the_store_has_simply_ended() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = Breakable::default();
    let (one, two) = (instance(&store).await, instance(&store).await);
    one.handle().set(&REVIEWS, off().until(secs(100))).await.unwrap();
    sleep(secs(90)).await;
    assert_eq!(two.state(&REVIEWS), FeatureState::Disabled);
    sleep(secs(60)).await;
    assert!(one.is_enabled(&REVIEWS) && two.is_enabled(&REVIEWS));
    assert_eq!(events_with(&logs, "disappeared").len(), 0);
}

#[tokio::test(start_paused = true)]
async fn unknown_words_keep_the_last_view() {
    let store = Breakable::default();
    let features = instance(&store).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    for (name, garbage) in [("reviews", "enabled"), ("reviews", "maybe"), ("search", "off")] {
        let name = name.parse().unwrap();
        store.inner.write(&name, Bytes::from(garbage), None).await.unwrap();
        sleep(secs(2)).await;
        assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
        assert!(features.is_enabled(&SEARCH));
        assert!(features.handle().store_error().unwrap().contains("aren't flags"));
    }
    store.set(Failure::Garbage);
    sleep(secs(60)).await;
    assert_eq!(features.state(&REVIEWS), FeatureState::Disabled);
    store.set(Failure::None);
    store.inner.write(&"reviews".parse().unwrap(), Bytes::from("degraded"), None).await.unwrap();
    sleep(secs(2)).await;
    assert_eq!(features.state(&REVIEWS), FeatureState::Degraded, "one word by hand");
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_must_be_known_is_off_until_the_flags_were_read() {
    static RISKY: Feature = feature!("risky");
    let store = Breakable::default();
    store.set(Failure::Hangs);
    let features =
        Features::builder().declare(RISKY.standard().off_unless_known()).flags(store.clone()).build().unwrap();
    drive(&features).await;
    sleep(secs(60)).await;
    assert_eq!(features.state(&RISKY), FeatureState::Disabled);
    assert_eq!(features.handle().get(&RISKY).unwrap().cause, Cause::Unknown);
    assert!(timeout(secs(1), features.loaded()).await.is_err());
    store.set(Failure::None);
    features.loaded().await;
    assert!(features.is_enabled(&RISKY));
    store.set(Failure::Refuses);
    sleep(secs(600)).await;
    assert!(features.is_enabled(&RISKY), "known is known");
}

#[tokio::test(start_paused = true)]
async fn two_instances_count_errors_together_and_one_degrades_alone() {
    let store = MemoryStore::new();
    let build = || shop().counts(store.clone()).build().unwrap();
    let (one, two, three) = (build(), build(), build());
    for features in [&one, &two, &three] {
        drive(features).await;
    }
    // 3 and 3 of 60 calls.
    for features in [&one, &two] {
        fail(features, &SEARCH, 3);
        succeed(features, &SEARCH, 27);
    }
    assert!(one.is_enabled(&SEARCH) && two.is_enabled(&SEARCH), "neither has enough of its own");
    // The third one reports, too, once the window has settled.
    for _ in 0..5 {
        sleep(secs(1)).await;
        [&one, &two, &three].iter().for_each(|features| succeed(features, &SEARCH, 1));
    }
    for features in [&one, &two, &three] {
        assert_eq!(features.handle().get(&SEARCH).unwrap().cause, Cause::Errors);
    }

    // Only the first one has errors, and the others report.
    for _ in 0..10 {
        fail(&one, &REVIEWS, 1);
        [&one, &two, &three].iter().for_each(|features| succeed(features, &REVIEWS, 1));
        sleep(secs(1)).await;
    }
    assert_eq!(state(&one, &REVIEWS), FeatureState::Degraded);
    assert!(two.is_enabled(&REVIEWS) && three.is_enabled(&REVIEWS));
}

#[tokio::test(start_paused = true)]
async fn no_error_of_a_broken_count_store_is_kept_for_later() {
    let store = Breakable::default();
    let (one, two) = (instance(&store).await, instance(&store).await);
    store.set(Failure::Refuses);
    for features in [&one, &two] {
        fail(features, &SEARCH, 4);
    }
    sleep(secs(3)).await;
    assert!(one.handle().store_error().is_some());
    store.set(Failure::None);
    for _ in 0..5 {
        sleep(secs(1)).await;
        [&one, &two].iter().for_each(|features| succeed(features, &SEARCH, 1));
    }
    assert!(one.is_enabled(&SEARCH) && two.is_enabled(&SEARCH));
    assert_eq!(one.handle().store_error(), None);
}

#[tokio::test(start_paused = true)]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn a_driver_that_is_started_again_or_twice_reports_each_call_once() {
    let features = shop().counts(MemoryStore::new()).build().unwrap();
    let first = tokio::spawn(features.run());
    sleep(secs(1) / 10).await;
    fail(&features, &SEARCH, 3);
    sleep(secs(3)).await;
    first.abort();
    tokio::spawn(features.run());
    tokio::spawn(features.run());
    for _ in 0..5 {
        sleep(secs(2)).await;
        succeed(&features, &SEARCH, 1);
    }
    // If they were reported twice, there would be 6.
    assert!(features.is_enabled(&SEARCH));
}

#[tokio::test(start_paused = true)]
async fn a_feature_whose_first_flag_is_garbage_is_not_known() {
    static CAREFUL: Feature = feature!("careful");
    let store = Breakable::default();
    let careful = "careful".parse().unwrap();
    store.inner.write(&careful, Bytes::from("maybe"), None).await.unwrap();
    let declaration = CAREFUL.standard().off_unless_known();
    let features = Features::builder().declare(declaration).flags(store.clone()).build().unwrap();
    drive(&features).await;
    assert_eq!(features.state(&CAREFUL), FeatureState::Disabled);
    store.inner.write(&careful, Bytes::from("removed"), None).await.unwrap();
    sleep(secs(2)).await;
    assert!(features.is_enabled(&CAREFUL));
}

#[tokio::test(start_paused = true)]
async fn a_malformed_count_is_logged_once_while_it_stays() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = Breakable::default();
    let features = shop().counts(store.clone()).build().unwrap();
    drive(&features).await;
    store.set(Failure::Garbage);
    for _ in 0..10 {
        succeed(&features, &SEARCH, 1);
        // Not each report has calls of the feature.
        sleep(secs(3)).await;
        assert_eq!(features.handle().store_error().unwrap(), "1 values aren't counts");
    }
    let warnings = events_with(&logs, "isn't a count");
    assert_eq!((warnings.len(), warnings[0].field("feature")), (1, Some("search")));
    assert!(events_with(&logs, "works again").is_empty());

    store.set(Failure::None);
    succeed(&features, &REVIEWS, 1);
    sleep(secs(3)).await;
    assert!(features.handle().store_error().is_some(), "nothing is known of the other one");
    succeed(&features, &SEARCH, 1);
    sleep(secs(3)).await;
    assert_eq!(features.handle().store_error(), None);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_answers_with_the_wrong_number_of_flags_does_not_work() {
    struct Short;
    impl FlagStore for Short {
        async fn version(&self) -> Result<Option<Bytes>, StoreError> {
            Ok(None)
        }
        async fn read(&self, _: &[Name]) -> Result<Vec<StoredValue>, StoreError> {
            Ok(Vec::new())
        }
        async fn write(&self, _: &Name, _: Bytes, _: Option<Duration>) -> Result<(), StoreError> {
            Ok(())
        }
    }
    let features = shop().flags(Short).build().unwrap();
    drive(&features).await;
    for _ in 0..100 {
        sleep(secs(1)).await;
        assert!(features.handle().store_error().unwrap().contains("number of flags"));
    }
    assert!(timeout(secs(1), features.loaded()).await.is_err());
}
