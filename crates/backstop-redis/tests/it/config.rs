//! Settings.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::time::Duration;

use backstop_redis::RedisStore;

fn client(url: &str) -> redis::Client {
    redis::Client::open(url).unwrap()
}

#[test]
fn bad_settings_are_refused_by_name() {
    let builder = || RedisStore::builder(client("redis://127.0.0.1/"));
    assert_eq!(builder().prefix("a b").build().unwrap_err().field, "prefix");
    assert_eq!(builder().timeout(Duration::ZERO).build().unwrap_err().field, "timeout");
    assert_eq!(builder().connect_timeout(Duration::MAX).build().unwrap_err().field, "connect_timeout");
    assert_eq!(builder().check_interval(Duration::ZERO).build().unwrap_err().field, "check_interval");
    assert_eq!(builder().max_answer(1_023).build().unwrap_err().field, "max_answer");
}

#[test]
fn the_password_is_not_shown() {
    let builder = RedisStore::builder(client("redis://:hunter2@127.0.0.1/")).prefix("shop:");
    let shown = format!("{builder:?}{:?}", builder.clone().build().unwrap());
    assert!(shown.contains("shop:") && !shown.contains("hunter2"), "{shown}");
}

#[cfg(feature = "serde")]
#[test]
fn they_can_be_read_from_a_file() {
    use backstop_redis::RedisStoreConfig;
    use proptest::prelude::*;

    let fields = &["prefix", "timeout", "connect_timeout", "check_interval", "max_answer"];
    let samples = ("[a-z:]{0,70}", 0..100_000_u64, 0..10_000_000_u64, 0..1_000_000_000_usize);
    let samples = samples.prop_map(|(prefix, timeout, interval, max_answer)| {
        let mut config = RedisStoreConfig::default();
        config.prefix = prefix;
        config.timeout = Duration::from_millis(timeout);
        config.check_interval = Duration::from_millis(interval);
        config.max_answer = max_answer;
        config
    });
    let build = |config| RedisStore::from_config(client("redis://127.0.0.1/"), config);
    backstop_test::assert_config_file("", &RedisStoreConfig::default(), fields, samples, build);
}
