//! What is sent to the server, and what is kept there.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{collections::BTreeSet, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    routing::any,
};
use backstop_features::{CountReport, CountStore, FeatureLayer, FlagStore};
use backstop_health::{Component, Health, Level, ViewStore};
use backstop_last_known_good::{LastKnownGoodLayer, Store};
use backstop_redis::RedisStore;
use backstop_test::RedisServer;
use bytes::Bytes;
use tokio::time::{Instant, sleep};
use tower::ServiceExt;

use crate::common::{REVIEWS, SEARCH, client, command, off, shop, text, within};

const SOON: Duration = Duration::from_secs(2);

/// The rights that the crate's documentation gives a user, after the key pattern.
fn documented_rights() -> Vec<&'static str> {
    let docs = include_str!("../../src/lib.rs").split("~shop:* ").nth(1).unwrap().split('`').next().unwrap();
    docs.split_whitespace().filter(|word| *word != "//!").collect()
}

async fn use_everything(store: &RedisStore) {
    let (name, bytes, hour) = ("search".parse().unwrap(), Bytes::from_static(b"x"), Duration::from_secs(3_600));
    store.write(&name, bytes.clone(), Some(hour)).await.unwrap();
    store.version().await.unwrap();
    store.read(std::slice::from_ref(&name)).await.unwrap();
    store.report("a", &[CountReport::new(name.clone(), 5, 5)]).await.unwrap();
    store.report("a", &[]).await.unwrap();
    ViewStore::put(store, &name, bytes.clone(), hour).await.unwrap();
    // Removes it, since it has ended.
    ViewStore::put(store, &name, bytes.clone(), Duration::ZERO).await.unwrap();
    store.all().await.unwrap();
    ViewStore::remove(store, &name).await.unwrap();
    Store::put(store, b"key", bytes, hour).await.unwrap();
    store.get(b"key").await.unwrap();
    Store::remove(store, b"key").await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_rights_may_do_everything_and_needs_all_of_them() {
    let Some(redis) = RedisServer::start() else { return };
    let rights = documented_rights();
    let words = ["ACL", "SETUSER", "shop", "on", ">pass", "~shop:*"].into_iter().chain(rights.iter().copied());
    command(&redis, &words.collect::<Vec<_>>());
    let url = redis.url().replace("redis://", "redis://shop:pass@");
    let store = RedisStore::builder(redis::Client::open(url).unwrap()).prefix("shop:").build().unwrap();
    command(&redis, &["CONFIG", "RESETSTAT"]);
    #[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
    tokio::spawn(store.run());
    within(SOON, "a connection", || store.is_connected()).await;
    use_everything(&store).await;

    let stats = text(&redis, &["INFO", "commandstats"]).unwrap();
    let used: BTreeSet<_> = stats.lines().filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next()).collect();
    let needed: BTreeSet<_> = rights.iter().filter_map(|right| right.strip_prefix('+')).collect();
    let unused: Vec<_> = needed.difference(&used).filter(|right| !right.starts_with('@')).collect();
    assert!(unused.is_empty(), "{unused:?} of {used:?}");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn no_secret_and_nothing_of_a_request_is_written() {
    let Some(redis) = RedisServer::start() else { return };
    command(&redis, &["ACL", "SETUSER", "shop", "on", ">secret-password", "~*", "+@all"]);
    let url = redis.url().replace("redis://", "redis://shop:secret-password@");
    let store = RedisStore::new(redis::Client::open(url).unwrap());
    tokio::spawn(store.run());
    let health = Health::builder().components(["search", "redis"].map(Component::optional)).build().unwrap();
    health.report("search", Level::Degraded, "secret-message", None).unwrap();
    tokio::spawn(health.share("redis", store.clone(), "shop-1").unwrap());
    let features = shop().flags(store.clone()).counts(store.clone()).build().unwrap();
    tokio::spawn(features.run());
    features.loaded().await;
    features.handle().set(&REVIEWS, off()).await.unwrap();

    let prices = LastKnownGoodLayer::builder("prices").principal(|_| Some("secret-user")).store(store);
    let app = Router::new()
        .route("/prices", any(|| async { "a user's answer" }).layer(prices.build().unwrap()))
        .route("/search", any(|| async { (StatusCode::BAD_GATEWAY, "secret-answer") }))
        .route_layer(FeatureLayer::new(features.gate(&SEARCH).unwrap()));
    let kinds = ["feature:reviews", "features:version", "feature:search:errors", "health:instances", "answer:*"];
    let since = Instant::now();
    while !kinds.iter().all(|kind| !keys(&redis, kind).is_empty()) {
        assert!(since.elapsed() < Duration::from_secs(10), "{:?}", keys(&redis, "*"));
        for (path, body) in [("/prices?secret-query", ""), ("/search?secret-query", "secret-body")] {
            let request = Request::get(path).header("x-user", "secret-field").body(Body::from(body)).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            axum::body::to_bytes(response.into_body(), 100).await.unwrap();
        }
        sleep(Duration::from_millis(10)).await;
    }
    for key in keys(&redis, "*") {
        let value = value(&redis, &key);
        for bytes in [&key, &value] {
            let text = String::from_utf8_lossy(bytes);
            assert!(!text.contains("secret"), "{text}");
        }
        // Only a stored answer has what a user was answered.
        assert!(key.starts_with(b"answer:") || !String::from_utf8_lossy(&value).contains("a user's answer"));
    }
}

fn keys(redis: &RedisServer, pattern: &str) -> Vec<Vec<u8>> {
    redis::from_redis_value(command(redis, &["KEYS", pattern])).unwrap()
}

/// All that is under a key.
fn value(redis: &RedisServer, key: &[u8]) -> Vec<u8> {
    let mut connection = client(redis).get_connection().unwrap();
    let kind: String = redis::cmd("TYPE").arg(key).query(&mut connection).unwrap();
    let parts: Vec<Vec<u8>> = match &*kind {
        "string" => vec![redis::cmd("GET").arg(key).query(&mut connection).unwrap()],
        _ => redis::cmd("HGETALL").arg(key).query(&mut connection).unwrap(),
    };
    parts.concat()
}
