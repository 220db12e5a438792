//! A server that is refused, hung, slow, restarted, full, evicting, demoted, loading.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::Outcome;
use backstop_features::{Features, FlagStore, SetError};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use tokio::time::{Instant, sleep, timeout};

use crate::common::{REVIEWS, SEARCH, client, command, connected, instance, is_off, number, off, store, within};

const SOON: Duration = Duration::from_secs(2);
/// A poll, an attempt to connect, and the longest wait between two.
const BACK: Duration = Duration::from_secs(6);

fn has_trouble(features: &Features) -> bool {
    features.handle().store_error().is_some()
}

/// Looks and counts all the time, like requests, and fails if one of them takes long.
struct Requests {
    stop: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
    task: std::thread::JoinHandle<u64>,
}

impl Requests {
    fn start(features: &Features) -> Self {
        let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stopped, counted, features) = (Arc::clone(&stop), Arc::clone(&made), features.clone());
        // A thread of its own: it must not be the runtime that makes it look slow.
        let task = std::thread::spawn(move || {
            let mut slow = 0;
            while !stopped.load(Relaxed) {
                let since = Instant::now();
                assert!(is_off(&features, &REVIEWS), "the view holds");
                assert!(features.is_enabled(&SEARCH));
                features.record(&SEARCH, &Outcome::success());
                // A store's time limit is 500 ms.
                slow += u64::from(since.elapsed() > Duration::from_millis(400));
                counted.fetch_add(1, Relaxed);
                std::thread::yield_now();
            }
            slow
        });
        Self { stop, made, task }
    }

    /// None of them failed, or waited for the store.
    fn end(self) {
        self.stop.store(true, Relaxed);
        let slow = self.task.join().expect("no request fails");
        let made = self.made.load(Relaxed);
        // A thread may lose its processor now and then. If requests waited for the store, all of them would.
        assert!(made > 1_000 && slow <= made / 1_000, "{slow} of {made} requests were slow");
    }
}

/// An instance with a flag that was set, and requests that rely on it.
async fn serving(redis: &RedisServer) -> (Features, Requests) {
    let features = instance(redis).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    let requests = Requests::start(&features);
    (features, requests)
}

/// The store can't be written, and says so in time.
async fn cannot_set(features: &Features) {
    let began = Instant::now();
    let error = features.handle().set(&SEARCH, off()).await.unwrap_err();
    assert!(matches!(error, SetError::Store(_)), "{error}");
    assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
    assert!(features.is_enabled(&SEARCH), "nothing has changed");
}

/// What is set elsewhere is followed again.
async fn converges(redis: &RedisServer, features: &Features) {
    let other = instance(redis).await;
    other.handle().remove(&REVIEWS, "bob", "works").await.unwrap();
    within(BACK, "the removal", || features.is_enabled(&REVIEWS)).await;
    within(BACK, "no trouble", || !has_trouble(features)).await;
    features.handle().set(&SEARCH, off()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_changes_nothing_until_it_is_back() {
    let Some(mut redis) = RedisServer::start() else { return };
    let (features, requests) = serving(&redis).await;
    redis.kill();
    within(SOON, "the trouble", || has_trouble(&features)).await;
    cannot_set(&features).await;
    sleep(SOON).await;
    requests.end();
    redis.restart();
    converges(&redis, &features).await;
}

#[tokio::test]
async fn a_server_that_was_never_there_leaves_features_as_declared() {
    let Some(mut redis) = RedisServer::start() else { return };
    redis.kill();
    let store = store(&redis);
    let features = crate::common::shop().flags(store.clone()).counts(store).build().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(features.run());
    let refused = || features.handle().store_error().is_some_and(|it| it.contains("connection refused"));
    within(SOON, "the trouble", refused).await;
    assert!(features.is_enabled(&REVIEWS) && features.is_enabled(&SEARCH));
    redis.restart();
    within(BACK, "the first view", || !has_trouble(&features)).await;
    assert!(timeout(SOON, features.loaded()).await.is_ok());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hung_server_holds_up_nobody() {
    let Some(redis) = RedisServer::start() else { return };
    let (features, requests) = serving(&redis).await;
    redis.pause();
    within(SOON * 2, "the trouble", || has_trouble(&features)).await;
    cannot_set(&features).await;
    sleep(SOON).await;
    requests.end();
    redis.resume();
    converges(&redis, &features).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_server_holds_up_nobody() {
    let Some(redis) = RedisServer::start() else { return };
    let (features, requests) = serving(&redis).await;
    command(&redis, &["CLIENT", "PAUSE", "4000", "ALL"]);
    within(SOON * 2, "the trouble", || has_trouble(&features)).await;
    cannot_set(&features).await;
    requests.end();
    converges(&redis, &features).await;
}

#[tokio::test]
async fn flags_that_a_restart_has_lost_are_held() {
    let Some(mut redis) = RedisServer::start() else { return };
    let features = instance(&redis).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    redis.restart_empty();
    let is_told = || features.handle().store_error().is_some_and(|it| it == "1 flags disappeared before their time");
    within(BACK, "the trouble", is_told).await;
    assert!(is_off(&features, &REVIEWS));
    converges(&redis, &features).await;
}

#[tokio::test]
async fn a_full_server_keeps_what_it_has_and_takes_nothing() {
    let Some(redis) = RedisServer::start_with(&["--maxmemory-policy", "noeviction"]) else { return };
    let features = instance(&redis).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    command(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    let error = features.handle().set(&SEARCH, off()).await.unwrap_err();
    assert!(error.to_string().contains("OOM"), "{error}");
    // Errors open a window, which must be written.
    within(Duration::from_secs(4), "the trouble", || {
        features.record(&SEARCH, &Outcome::success());
        features.record(&REVIEWS, &Outcome::failure());
        has_trouble(&features)
    })
    .await;
    assert!(is_off(&features, &REVIEWS) && features.is_enabled(&SEARCH));
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    features.handle().set(&SEARCH, off()).await.unwrap();
    within(BACK, "no trouble", || {
        features.record(&SEARCH, &Outcome::success());
        !has_trouble(&features)
    })
    .await;
}

#[tokio::test]
async fn flags_that_were_evicted_are_held() {
    let Some(redis) = RedisServer::start_with(&["--maxmemory-policy", "allkeys-random"]) else { return };
    let features = instance(&redis).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    command(&redis, &["CONFIG", "SET", "maxmemory", "1"]);
    // Each write evicts something.
    _ = features.handle().set(&SEARCH, off()).await;
    command(&redis, &["CONFIG", "SET", "maxmemory", "0"]);
    assert_eq!(number(&redis, &["EXISTS", "feature:reviews"]), 0, "evicted");
    within(BACK, "the trouble", || has_trouble(&features)).await;
    assert!(is_off(&features, &REVIEWS));
}

#[tokio::test]
async fn a_demoted_server_is_left_for_the_one_behind_the_same_address() {
    let Some(redis) = RedisServer::start() else { return };
    let Some(primary) = RedisServer::start() else { return };
    let features = instance(&redis).await;
    features.handle().set(&REVIEWS, off()).await.unwrap();
    command(&redis, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let clients = || number_of_connections(&redis);
    let before = clients();
    let error = features.handle().set(&SEARCH, off()).await.unwrap_err();
    let is_known =
        ["READONLY", "LOADING", "MASTERDOWN", "reconnecting"].iter().any(|it| error.to_string().contains(it));
    assert!(is_known, "{error}");
    within(BACK, "another connection", || clients() > before).await;
    assert!(is_off(&features, &REVIEWS), "the view holds");
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    let mut is_set = false;
    let since = Instant::now();
    while !is_set {
        assert!(since.elapsed() < BACK, "it can be written again");
        is_set = features.handle().set(&SEARCH, off()).await.is_ok();
        sleep(Duration::from_millis(50)).await;
    }
}

/// How many connections were made so far.
fn number_of_connections(redis: &RedisServer) -> i64 {
    let mut connection = client(redis).get_connection().unwrap();
    let info: String = redis::cmd("INFO").arg("stats").query(&mut connection).unwrap();
    let line = info.lines().find_map(|line| line.strip_prefix("total_connections_received:")).unwrap();
    // Without this one, and those of earlier questions.
    static QUESTIONS: AtomicU64 = AtomicU64::new(0);
    line.trim().parse::<i64>().unwrap() - QUESTIONS.fetch_add(1, Relaxed) as i64
}

#[tokio::test]
async fn a_script_reaches_a_demoted_server_and_the_connection_is_made_anew() {
    use backstop_features::{CountReport, CountStore};
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let report = || CountReport::new("search".parse().unwrap(), 5, 1);
    store.report("a", &[report()]).await.unwrap();
    // Nobody is there, so that it doesn't begin to load.
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.report("a", &[report()]).await.unwrap_err();
    assert!(error.to_string().contains("READONLY"), "{error}");
    assert!(!store.is_connected(), "it is given up");
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    within(BACK, "another connection", || store.is_connected()).await;
    store.report("a", &[report()]).await.unwrap();
}

#[tokio::test]
async fn a_replica_that_has_lost_its_primary_is_left_and_tried_again() {
    let Some(redis) = RedisServer::start_with(&["--replica-serve-stale-data", "no"]) else { return };
    let store = connected(&redis).await;
    assert_eq!(store.version().await.unwrap(), None);
    command(&redis, &["REPLICAOF", "127.0.0.1", "1"]);
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("MASTERDOWN"), "{error}");
    assert!(!store.is_connected());
    command(&redis, &["REPLICAOF", "NO", "ONE"]);
    within(BACK, "another connection", || store.is_connected()).await;
    assert_eq!(store.version().await.unwrap(), None);
}

#[tokio::test]
async fn a_server_that_is_loading_is_tried_again() {
    let Some(redis) = RedisServer::start() else { return };
    let Some(primary) = RedisServer::start() else { return };
    // Its copy takes about a second to load.
    let mut connection = client(&primary).get_connection().unwrap();
    for i in 0..500 {
        redis::cmd("SET").arg(format!("key-{i}")).arg("x".repeat(1_024)).exec(&mut connection).unwrap();
    }
    command(&redis, &["CONFIG", "SET", "key-load-delay", "3000"]);
    command(&redis, &["CONFIG", "SET", "loading-process-events-interval-bytes", "1024"]);
    let store = connected(&redis).await;
    command(&redis, &["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    let mut told = String::new();
    let since = Instant::now();
    while !told.contains("LOADING") {
        assert!(since.elapsed() < Duration::from_secs(10), "it never said that it was loading: {told}");
        if let Err(error) = store.version().await {
            told = error.to_string();
        }
        sleep(Duration::from_millis(5)).await;
    }
    // It obeys once it has loaded.
    let mut obeys = || {
        let connection = client(&redis).get_connection();
        connection.and_then(|mut it| redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec(&mut it)).is_ok()
    };
    within(Duration::from_secs(10), "the end of the loading", &mut obeys).await;
    within(BACK * 2, "another connection", || store.is_connected()).await;
}

#[tokio::test]
async fn nothing_is_connected_until_it_is_run_and_after_it_is_dropped() {
    let Some(redis) = RedisServer::start() else { return };
    let store = RedisStore::new(client(&redis));
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("`run`"), "{error}");
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    let task = tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    task.abort();
    within(SOON, "no connection", || !store.is_connected()).await;
    let error = store.version().await.unwrap_err();
    assert!(error.to_string().contains("dropped"), "{error}");
}

#[tokio::test]
async fn bad_settings_are_refused_by_name() {
    let builder = || RedisStore::builder(redis::Client::open("redis://127.0.0.1/").unwrap());
    assert_eq!(builder().prefix("a b").build().unwrap_err().field, "prefix");
    assert_eq!(builder().timeout(Duration::ZERO).build().unwrap_err().field, "timeout");
    assert_eq!(builder().connect_timeout(Duration::MAX).build().unwrap_err().field, "connect_timeout");
    let secret = RedisStore::builder(redis::Client::open("redis://:hunter2@127.0.0.1/").unwrap());
    assert!(!format!("{secret:?}{:?}", secret.clone().build().unwrap()).contains("hunter2"));
}

#[tokio::test]
async fn a_hung_server_is_given_up_also_by_callers_with_shorter_limits() {
    use backstop_last_known_good::Store;
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    redis.pause();
    within(BACK, "another connection", || {
        // Dropped long before the store's own limit.
        let mut get = Box::pin(store.get(b"key"));
        _ = get.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        !store.is_connected()
    })
    .await;
    redis.resume();
    within(BACK, "another connection", || store.is_connected()).await;
    assert_eq!(store.get(b"key").await.unwrap(), None);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn a_second_driver_takes_over_from_the_first() {
    let Some(redis) = RedisServer::start() else { return };
    let store = RedisStore::new(client(&redis));
    let first = tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    tokio::spawn(store.run());
    // It waits for its turn.
    assert!(store.version().await.is_ok());
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    assert!(!store.is_connected());
    within(BACK, "another one", || store.is_connected()).await;
    assert!(store.version().await.is_ok());
}

#[tokio::test]
async fn a_user_with_the_documented_rights_may_do_everything() {
    use backstop_features::{CountReport, CountStore};
    use backstop_health::ViewStore;
    use backstop_last_known_good::Store;
    let Some(redis) = RedisServer::start() else { return };
    let documented = include_str!("../../src/lib.rs").lines().skip_while(|line| !line.contains("ACL SETUSER")).take(2);
    let documented: String = documented.map(|line| line.trim_start_matches("//!").trim()).collect::<Vec<_>>().join(" ");
    let rights = documented.split("~shop:*").nth(1).unwrap().split('`').next().unwrap();
    let words: Vec<_> = "ACL SETUSER shop on >pass ~shop:*".split(' ').chain(rights.split_whitespace()).collect();
    command(&redis, &words);
    let url = redis.url().replace("redis://", "redis://shop:pass@");
    let store = RedisStore::builder(redis::Client::open(url).unwrap()).prefix("shop:").build().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;

    let (name, bytes, hour) = ("search".parse().unwrap(), bytes::Bytes::from_static(b"x"), Duration::from_secs(3_600));
    store.write(&name, bytes.clone(), Some(hour)).await.unwrap();
    store.version().await.unwrap();
    store.read(std::slice::from_ref(&name)).await.unwrap();
    store.report("a", &[CountReport::new(name.clone(), 5, 5)]).await.unwrap();
    store.report("a", &[]).await.unwrap();
    ViewStore::put(&store, &name, bytes.clone(), hour).await.unwrap();
    store.all().await.unwrap();
    ViewStore::remove(&store, &name).await.unwrap();
    Store::put(&store, b"key", bytes, hour).await.unwrap();
    store.get(b"key").await.unwrap();
    Store::remove(&store, b"key").await.unwrap();
}
