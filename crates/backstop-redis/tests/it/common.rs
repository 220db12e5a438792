//! What the tests share.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_features::{Feature, FeatureState, Features, FeaturesBuilder, FlagChange, feature};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, sleep};

pub(crate) static SEARCH: Feature = feature!("search");
pub(crate) static REVIEWS: Feature = feature!("reviews");

pub(crate) fn shop() -> FeaturesBuilder {
    Features::builder().declare(SEARCH.standard()).declare(REVIEWS.nice_to_have())
}

pub(crate) fn client(redis: &RedisServer) -> redis::Client {
    redis::Client::open(redis.url()).unwrap()
}

/// A store whose driver runs.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
pub(crate) fn store(redis: &RedisServer) -> RedisStore {
    let store = RedisStore::new(client(redis));
    tokio::spawn(store.run());
    store
}

/// The same, once it is connected.
pub(crate) async fn connected(redis: &RedisServer) -> RedisStore {
    let store = store(redis);
    within(Duration::from_secs(5), "a connection", || store.is_connected()).await;
    store
}

/// An instance of the service, with a connection of its own.
pub(crate) async fn instance(redis: &RedisServer) -> Features {
    instance_with(connected(redis).await).await
}

#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
pub(crate) async fn instance_with(store: RedisStore) -> Features {
    let features = shop().flags(store.clone()).counts(store).build().unwrap();
    tokio::spawn(features.run());
    features.loaded().await;
    features
}

/// Waits until something holds, and fails the test if it takes too long.
pub(crate) async fn within(time: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < time, "not within {time:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn off() -> FlagChange {
    FlagChange::disable("ada", "broken")
}

pub(crate) fn is_off(features: &Features, feature: &Feature) -> bool {
    features.state(feature) == FeatureState::Disabled
}

/// A command by an operator, on a connection of its own.
pub(crate) fn command(redis: &RedisServer, words: &[&str]) -> redis::Value {
    try_command(redis, words).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

pub(crate) fn try_command(redis: &RedisServer, words: &[&str]) -> redis::RedisResult<redis::Value> {
    let mut connection = client(redis).get_connection()?;
    redis::cmd(words[0]).arg(&words[1..]).query(&mut connection)
}

pub(crate) fn text(redis: &RedisServer, words: &[&str]) -> Option<String> {
    redis::from_redis_value(command(redis, words)).unwrap()
}

pub(crate) fn number(redis: &RedisServer, words: &[&str]) -> i64 {
    redis::from_redis_value(command(redis, words)).unwrap()
}
