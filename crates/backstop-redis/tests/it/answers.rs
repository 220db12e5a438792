//! Last known good answers.

use std::time::Duration;

use backstop_last_known_good::Store;
use backstop_redis::RedisStoreConfig;
use backstop_test::RedisServer;
use bytes::Bytes;
use tokio::time::sleep;

use crate::common::{command, connected, number};

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_under_its_key_alone() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let value = Bytes::from_static(b"\0an answer\xff");
    store.put(b"key\0one", value.clone(), Duration::from_secs(60)).await.unwrap();
    assert_eq!(store.get(b"key\0one").await.unwrap(), Some(value));
    assert_eq!(store.get(b"key\0two").await.unwrap(), None);
    store.put(b"key\0two", Bytes::from_static(b"short"), Duration::from_millis(50)).await.unwrap();
    sleep(Duration::from_millis(60)).await;
    assert_eq!(store.get(b"key\0two").await.unwrap(), None);
    store.remove(b"key\0one").await.unwrap();
    assert_eq!(number(&redis, &["DBSIZE"]), 0);
}

#[tokio::test]
async fn keys_in_redis_hold_nothing_of_a_request() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    store.put(b"/account?token=secret ada", Bytes::from_static(b"x"), Duration::from_secs(60)).await.unwrap();
    let keys: Vec<Vec<u8>> = redis::from_redis_value(command(&redis, &["KEYS", "*"])).unwrap();
    assert!(keys[0].starts_with(b"answer:") && keys[0].len() == b"answer:".len() + 32, "{keys:?}");
}

#[tokio::test]
async fn something_else_under_the_key_is_an_error_and_no_answer() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    store.put(b"key", Bytes::from_static(b"x"), Duration::from_secs(60)).await.unwrap();
    let keys: Vec<Vec<u8>> = redis::from_redis_value(command(&redis, &["KEYS", "*"])).unwrap();
    let mut connection = crate::common::client(&redis).get_connection().unwrap();
    redis::cmd("DEL").arg(&keys[0]).exec(&mut connection).unwrap();
    redis::cmd("LPUSH").arg(&keys[0]).arg("y").exec(&mut connection).unwrap();
    assert!(store.get(b"key").await.is_err());
    assert!(store.is_connected(), "the connection isn't to blame");
}

#[tokio::test]
async fn what_is_longer_than_an_answer_is_neither_written_nor_read() {
    let Some(redis) = RedisServer::start() else { return };
    let store = connected(&redis).await;
    let (minute, longest) = (Duration::from_secs(60), RedisStoreConfig::default().max_answer);
    store.put(b"key", vec![b'x'; longest].into(), minute).await.unwrap();
    assert_eq!(store.get(b"key").await.unwrap().unwrap().len(), longest);
    let error = store.put(b"key", vec![b'x'; longest + 1].into(), minute).await.unwrap_err();
    assert_eq!(error.to_string(), "it is longer than 1048576 bytes");

    // Somebody else has written there.
    let keys: Vec<Vec<u8>> = redis::from_redis_value(command(&redis, &["KEYS", "*"])).unwrap();
    let mut connection = crate::common::client(&redis).get_connection().unwrap();
    redis::cmd("APPEND").arg(&keys[0]).arg("y").exec(&mut connection).unwrap();
    assert_eq!(store.get(b"key").await.unwrap(), None);
}
