//! Views of health.

use std::time::Duration;

use backstop_core::name;
use backstop_health::{Component, Health, Level, VIEW_TTL, VIEWS_MAX, ViewStore};
use backstop_test::RedisServer;
use bytes::Bytes;
use tokio::time::sleep;

use crate::common::{command, connected, number, text, within};

const KEY: &str = "health:instances";

#[tokio::test]
async fn each_instance_has_a_view_that_ends_by_itself() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let view = |text| Bytes::from_static(text);
    store.put(&name!("shop-1"), view(b"one"), Duration::from_secs(20)).await.unwrap();
    store.put(&name!("shop-2"), view(b"two \n\0 words"), Duration::from_millis(100)).await.unwrap();
    let mut all = store.all().await.unwrap();
    all.sort();
    assert_eq!(all, [("shop-1".to_owned(), view(b"one")), ("shop-2".to_owned(), view(b"two \n\0 words"))]);
    assert!((15_000..=20_000).contains(&number(&redis, &["PTTL", KEY])));

    sleep(Duration::from_millis(110)).await;
    assert_eq!(store.all().await.unwrap(), [("shop-1".to_owned(), view(b"one"))]);
    store.put(&name!("shop-1"), view(b"one"), Duration::from_secs(20)).await.unwrap();
    assert_eq!(number(&redis, &["HLEN", KEY]), 1, "the one that has ended is gone");
    store.remove(&name!("shop-1")).await.unwrap();
    assert_eq!(store.all().await.unwrap(), []);
}

#[tokio::test]
async fn garbage_among_the_views_is_no_view() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    command(
        &redis,
        &["HSET", KEY, "a", "", "b", "soon x", "c", "99999999999999x", "d", "1 old", "e", "99999999999999 v"],
    );
    assert_eq!(store.all().await.unwrap(), [], "no view ends so late");
    store.put(&name!("shop-1"), Bytes::from_static(b"one"), Duration::from_secs(20)).await.unwrap();
    assert_eq!(number(&redis, &["HLEN", KEY]), 1);
    command(&redis, &["DEL", KEY]);
    command(&redis, &["SET", KEY, "a string"]);
    assert!(store.all().await.is_err());
    assert!(store.put(&name!("shop-1"), Bytes::from_static(b"one"), Duration::from_secs(20)).await.is_err());
}

#[tokio::test]
async fn views_of_instances_that_are_gone_are_removed_a_few_at_a_time() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let fields: Vec<_> = (0..500).map(|i| format!("gone-{i}")).collect();
    let ended: Vec<_> = fields.iter().flat_map(|field| [&**field, "1 view"]).collect();
    command(&redis, &[&["HSET", KEY][..], &ended].concat());
    let put = async || store.put(&name!("shop-1"), Bytes::from_static(b"one"), Duration::from_secs(20)).await.unwrap();
    put().await;
    assert!(number(&redis, &["HLEN", KEY]) >= 501 - 8);
    let mut puts = 1;
    while number(&redis, &["HLEN", KEY]) > 1 {
        put().await;
        puts += 1;
        assert!(puts < 500, "all are found in the end");
    }
}

#[tokio::test]
async fn no_more_views_are_read_than_health_keeps() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    store.put(&name!("shop-1"), Bytes::from_static(b"one"), VIEW_TTL).await.unwrap();
    let view = text(&redis, &["HGET", KEY, "shop-1"]).unwrap();
    let fields: Vec<_> = (0..2 * VIEWS_MAX).map(|i| format!("other-{i}")).collect();
    let views: Vec<_> = fields.iter().flat_map(|field| [&**field, &view]).collect();
    command(&redis, &[&["HSET", KEY][..], &views].concat());
    assert_eq!(store.all().await.unwrap().len(), VIEWS_MAX);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
async fn two_instances_see_each_others_health() {
    let Some(redis) = RedisServer::start() else { return };
    let mut all = Vec::new();
    for instance in ["shop-1", "shop-2"] {
        let health = Health::builder().components(["search", "redis"].map(Component::optional)).build().unwrap();
        health.report("search", Level::Degraded, "slow", None).unwrap();
        tokio::spawn(health.share("redis", connected(&redis).await, instance).unwrap());
        all.push(health);
    }
    within(Duration::from_secs(10), "both views", || all.iter().all(|health| health.instances().len() == 1)).await;
    assert_eq!(all[0].instances()[0].instance, "shop-2");
    assert_eq!(all[0].instances()[0].status, Level::Degraded);
}
