//! The store is refused, hung, slow, emptied, full, evicting, demoted, loading, full of garbage, or killed in mid-script.
//!
//! In each case, [`Serving`] makes requests all the time: none fails, none waits for the store, and operators' flags hold.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_features::{CountReport, CountStore, FlagStore};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{sleep, timeout};

use crate::{
    common::{REVIEWS, SEARCH, client, command, connected, number, off, shop, store, try_command, within},
    load::{BACK, Serving},
};

const SOON: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_changes_nothing_until_it_is_back() {
    let Some(mut redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    redis.kill();
    serving.shows_the_outage().await;
    serving.cannot_set().await;
    redis.restart();
    serving.converges(&redis).await;
}

#[tokio::test]
async fn a_server_that_was_never_there_leaves_features_as_declared() {
    let Some(mut redis) = RedisServer::start() else { return };
    redis.kill();
    let store = store(&redis);
    let features = shop().flags(store.clone()).counts(store).build().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(features.run());
    let is_refused = || features.handle().store_error().is_some_and(|it| it.contains("connection refused"));
    within(SOON, "the store's error", is_refused).await;
    assert!(features.is_enabled(&REVIEWS) && features.is_enabled(&SEARCH));
    redis.restart();
    within(BACK, "the first view", || features.handle().store_error().is_none()).await;
    assert!(timeout(SOON, features.loaded()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_changes_nothing_until_it_is_back() {
    let Some(redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    redis.pause();
    serving.shows_the_outage().await;
    serving.cannot_set().await;
    redis.resume();
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_changes_nothing_until_it_is_fast() {
    let Some(redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    // It answers in the end, long after everybody has given up.
    command(&redis, &["CLIENT", "PAUSE", "8000", "ALL"]);
    serving.shows_the_outage().await;
    serving.cannot_set().await;
    within(BACK * 2, "answers", || try_command(&redis, &["PING"]).is_ok()).await;
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_that_a_restart_has_lost_are_held() {
    let Some(mut redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    redis.restart_empty();
    let error = || serving.features.handle().store_error().unwrap_or_default();
    within(BACK, "the loss", || error() == "1 flags disappeared before their time").await;
    serving.shows_the_outage().await;
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn flags_that_were_evicted_are_held() {
    let Some(redis) = RedisServer::start_with(&["--maxmemory-policy", "allkeys-lru"]) else { return };
    let serving = Serving::start(&redis).await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "3mb"]);
    let long = "x".repeat(10_000);
    let mut key = 0;
    // Another service's cache.
    within(Duration::from_secs(30), "the eviction", || {
        for _ in 0..100 {
            key += 1;
            command(&redis, &["SET", &format!("cache:{key}"), &long]);
        }
        number(&redis, &["EXISTS", "feature:reviews"]) == 0
    })
    .await;
    command(&redis, &["SET", "features:version", "moved"]);
    serving.shows_the_outage().await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_server_keeps_what_it_has_and_takes_nothing() {
    let Some(redis) = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]) else { return };
    let serving = Serving::start(&redis).await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    // The error counts can't be written.
    serving.shows_the_outage().await;
    let error = serving.features.handle().set(&SEARCH, off()).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    serving.cannot_set().await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_wrong_types_change_nothing_until_they_are_overwritten() {
    let Some(redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    for key in ["feature:cart:errors", "health:instances", "features:version"] {
        command(&redis, &["DEL", key]);
        command(&redis, &["LPUSH", key, "garbage"]);
    }
    command(&redis, &["SET", "feature:reviews", "\u{0}perhaps"]);
    serving.shows_the_outage().await;
    // Only what is written as a whole is overwritten.
    command(&redis, &["DEL", "feature:cart:errors", "health:instances"]);
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_demoted_server_changes_nothing_until_it_is_a_primary_again() {
    let (Some(redis), Some(primary)) = (RedisServer::start(), RedisServer::start()) else { return };
    let serving = Serving::start(&redis).await;
    command(&redis, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    serving.shows_the_outage().await;
    serving.cannot_set().await;
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    // It has lost the flag: it had taken over the other server's data.
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_loading_changes_nothing_until_it_has_loaded() {
    let (Some(redis), Some(primary)) = (RedisServer::start(), RedisServer::start()) else { return };
    let serving = Serving::start(&redis).await;
    // Its copy takes about a second to load.
    let long = "x".repeat(1_024);
    for i in 0..500 {
        command(&primary, &["SET", &format!("key-{i}"), &long]);
    }
    command(&redis, &["CONFIG", "SET", "key-load-delay", "3000"]);
    command(&redis, &["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
    command(&redis, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let is_loading = || try_command(&redis, &["GET", "key"]).is_err_and(|error| error.code() == Some("LOADING"));
    within(BACK, "the loading", is_loading).await;
    serving.shows_the_outage().await;
    // It obeys once it has loaded.
    within(BACK, "the end of the loading", || try_command(&redis, &["REPLICAOF", "NO", "ONE"]).is_ok()).await;
    serving.converges(&redis).await;
}

/// Reports of many features, so that a report is at work at any time. They fail while the server is gone.
async fn reports(store: &RedisStore) -> usize {
    let reports: Vec<_> = (0..500).map(|i| CountReport::new(format!("feature-{i}").parse().unwrap(), 100, 1)).collect();
    usize::from(store.report("a", &reports).await.is_ok())
}

/// Each window is whole, and ends.
fn assert_whole_windows(redis: &RedisServer) {
    let keys: Vec<String> = redis::from_redis_value(command(redis, &["KEYS", "feature:*:errors"])).unwrap();
    assert!(!keys.is_empty());
    for key in keys {
        assert_eq!(number(redis, &["HLEN", &key]), 9, "{key}");
        assert!(number(redis, &["PTTL", &key]) > 0, "{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_in_mid_script_has_done_all_of_it_or_nothing() {
    let Some(mut redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    let store = connected(&redis).await;
    assert_eq!(reports(&store).await, 1);
    for round in 0..5 {
        within(BACK, "another connection", || store.is_connected()).await;
        let kill = async {
            sleep(Duration::from_millis(3 + 2 * round)).await;
            redis.kill();
        };
        // Until one of them fails.
        tokio::join!(async { while reports(&store).await > 0 {} }, kill);
        redis.restart();
        assert_whole_windows(&redis);
    }
    serving.converges(&redis).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_demoted_between_scripts_has_done_all_of_each_or_nothing() {
    let Some(redis) = RedisServer::start() else { return };
    let serving = Serving::start(&redis).await;
    let store = connected(&redis).await;
    for round in 0..5 {
        within(BACK, "another connection", || store.is_connected()).await;
        let demote = async {
            sleep(Duration::from_millis(3 + 2 * round)).await;
            // Nobody is there, so that it doesn't begin to load.
            command(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
        };
        tokio::join!(async { while reports(&store).await > 0 {} }, demote);
        assert!(!store.is_connected(), "it is given up");
        command(&redis, &["REPLICAOF", "NO", "ONE"]);
        assert_whole_windows(&redis);
    }
    serving.converges(&redis).await;
}

#[tokio::test]
async fn a_flag_is_not_written_without_its_version() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    // Fails at the script's second command.
    command(&redis, &["ACL", "SETUSER", "default", "resetkeys", "~feature:*"]);
    let mut connection = client(&redis).get_connection().unwrap();
    let flag = bytes::Bytes::from_static(b"disabled");
    assert!(store.write(SEARCH.name(), flag, None).await.is_err());
    let written: Option<String> = redis::cmd("GET").arg("feature:search").query(&mut connection).unwrap();
    assert_eq!(written, None);
}
