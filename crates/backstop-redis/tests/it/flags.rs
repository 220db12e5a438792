//! Flags.

use std::time::Duration;

use backstop_features::{FeatureState, FlagChange, Reach};
use backstop_test::RedisServer;

use crate::common::{REVIEWS, SEARCH, command, instance, is_off, number, off, text, within};

const SOON: Duration = Duration::from_secs(2);

#[tokio::test]
async fn two_instances_see_each_others_flags_within_two_seconds() {
    let Some(redis) = RedisServer::start() else { return };
    let (one, two) = (instance(&redis).await, instance(&redis).await);
    assert_eq!(one.handle().set(&REVIEWS, off().until(Duration::from_secs(3_600))).await.unwrap(), Reach::Fleet);
    assert!(is_off(&one, &REVIEWS), "at once");
    within(SOON, "the flag", || is_off(&two, &REVIEWS)).await;
    let flag = two.handle().get(&REVIEWS).unwrap().flag.unwrap();
    assert_eq!((flag.who(), flag.reason()), ("ada", "broken"));
    let remaining = flag.remaining().unwrap();
    assert!(remaining > Duration::from_secs(3_590) && remaining <= Duration::from_secs(3_601), "{remaining:?}");

    two.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    within(SOON, "its removal", || one.is_enabled(&REVIEWS)).await;
}

#[tokio::test]
async fn the_keys_are_as_documented_and_hold_what_operators_said() {
    let Some(redis) = RedisServer::start() else { return };
    let one = instance(&redis).await;
    one.handle().set(&REVIEWS, off().until(Duration::from_secs(60))).await.unwrap();
    assert_eq!(text(&redis, &["GET", "feature:reviews"]).unwrap(), "disabled\nwho: ada\nreason: broken\n");
    assert!((55_000..=60_000).contains(&number(&redis, &["PTTL", "feature:reviews"])));
    assert_eq!(number(&redis, &["STRLEN", "features:version"]), 32);
    assert_eq!(number(&redis, &["DBSIZE"]), 2);
    one.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    assert_eq!(text(&redis, &["GET", "feature:reviews"]).unwrap(), "removed");
    assert!(number(&redis, &["PTTL", "feature:reviews"]) > 0);
}

#[tokio::test]
async fn an_operator_can_set_a_flag_by_hand() {
    let Some(redis) = RedisServer::start() else { return };
    let one = instance(&redis).await;
    command(&redis, &["SET", "feature:search", "degraded"]);
    command(&redis, &["SET", "feature:reviews", "enabled", "EX", "3600"]);
    command(&redis, &["SET", "features:version", "by hand"]);
    within(SOON, "the flag", || one.state(&SEARCH) == FeatureState::Degraded).await;
    assert_eq!(one.handle().get(&REVIEWS).unwrap().flag.unwrap().state(), FeatureState::Enabled);
    assert_eq!(one.handle().store_error(), None);
}

#[tokio::test]
async fn a_flag_ends_on_all_instances() {
    let Some(redis) = RedisServer::start() else { return };
    let (one, two) = (instance(&redis).await, instance(&redis).await);
    one.handle().set(&REVIEWS, FlagChange::degrade("ada", "slow").until(SOON)).await.unwrap();
    within(SOON, "the flag", || two.state(&REVIEWS) == FeatureState::Degraded).await;
    within(SOON * 2, "its end", || one.is_enabled(&REVIEWS) && two.is_enabled(&REVIEWS)).await;
    assert_eq!((one.handle().store_error(), two.handle().store_error()), (None, None));
}

#[tokio::test]
async fn garbage_and_wrong_types_under_our_keys_change_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let one = instance(&redis).await;
    one.handle().set(&REVIEWS, off()).await.unwrap();
    let long = "disabled".repeat(1_000_000);
    for garbage in [
        &["SET", "feature:reviews", "perhaps"][..],
        &["SET", "feature:reviews", &long],
        &["SET", "feature:reviews", "enabled"],
        &["SET", "feature:reviews", "\u{0}\u{1}\u{2}"],
    ] {
        command(&redis, garbage);
        command(&redis, &["SET", "features:version", &garbage[2][..3]]);
        within(SOON, "the store's error", || one.handle().store_error().is_some()).await;
        assert!(is_off(&one, &REVIEWS) && one.is_enabled(&SEARCH));
    }
    command(&redis, &["DEL", "feature:reviews"]);
    command(&redis, &["LPUSH", "feature:reviews", "disabled"]);
    command(&redis, &["HSET", "feature:search", "state", "disabled"]);
    command(&redis, &["SET", "features:version", "wrong types"]);
    within(SOON, "the store's error", || one.handle().store_error().is_some_and(|it| it.starts_with("2 values"))).await;
    assert!(is_off(&one, &REVIEWS) && one.is_enabled(&SEARCH));

    // Also under the version's key. A write puts all of them right.
    command(&redis, &["DEL", "features:version"]);
    command(&redis, &["LPUSH", "features:version", "1"]);
    let is_wrong_type = || one.handle().store_error().is_some_and(|it| it.contains("WRONGTYPE"));
    within(SOON, "the store's error", is_wrong_type).await;
    one.handle().set(&SEARCH, off()).await.unwrap();
    one.handle().remove(&REVIEWS, "ada", "works").await.unwrap();
    within(SOON, "order", || one.handle().store_error().is_none()).await;
    assert!(is_off(&one, &SEARCH) && one.is_enabled(&REVIEWS));
}
