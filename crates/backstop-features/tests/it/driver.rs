//! What follows the level and the stores, and how it ends.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a helper of a test may fail it")]
#![expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering::Relaxed},
};

use backstop_features::{Level, MemoryStore};
use backstop_test::Logs;
use tokio::time::{sleep, timeout};

use crate::common::{Breakable, Dial, Failure, SEARCH, drive, events_with, fail, secs, shop};

#[tokio::test(start_paused = true)]
async fn it_ends_when_the_features_are_gone() {
    let level = Arc::new(());
    let of = Arc::clone(&level);
    let features = shop()
        .level(move || {
            _ = &of;
            Level::Healthy
        })
        .flags(MemoryStore::new())
        .counts(MemoryStore::new())
        .build()
        .unwrap();
    let (first, second) = (tokio::spawn(features.run()), tokio::spawn(features.run()));
    sleep(secs(10)).await;
    drop(features);
    for driver in [first, second] {
        timeout(secs(5), driver).await.unwrap().unwrap();
    }
    assert_eq!(Arc::strong_count(&level), 1, "the sources are dropped, too");
}

#[tokio::test(start_paused = true)]
async fn two_drivers_ask_the_store_once() {
    let store = Breakable::default();
    let features = shop().flags(store.clone()).build().unwrap();
    drive(&features).await;
    drive(&features).await;
    let versions = store.versions.load(Relaxed);
    sleep(secs(300)).await;
    let more = store.versions.load(Relaxed) - versions;
    assert!((250..=375).contains(&more), "{more}");
}

#[tokio::test(start_paused = true)]
async fn a_panic_that_ends_it_is_logged_and_the_next_failure_reminds_of_it() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let is_broken = Arc::new(AtomicBool::new(false));
    let of = Arc::clone(&is_broken);
    let level = move || if of.load(Relaxed) { panic!("a bug") } else { Level::Healthy };
    let features = shop().level(level).build().unwrap();
    drive(&features).await;
    let reminders = || events_with(&logs, "spawn `features.run()`").len();
    fail(&features, &SEARCH, 1);
    assert_eq!(reminders(), 0);
    is_broken.store(true, Relaxed);
    sleep(secs(5)).await;
    assert_eq!(events_with(&logs, "a panic has ended `features.run()`").len(), 1);
    fail(&features, &SEARCH, 2);
    assert_eq!(reminders(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_never_polled_drives_nothing() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let features = shop().level(Dial::default().source()).build().unwrap();
    let _never_polled = features.run();
    fail(&features, &SEARCH, 1);
    assert_eq!(events_with(&logs, "spawn `features.run()`").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_every_few_seconds_is_logged_once_until_it_has_worked_for_a_minute() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let store = Breakable::default();
    let features = shop().flags(store.clone()).build().unwrap();
    drive(&features).await;
    for _ in 0..300 {
        store.set(Failure::Refuses);
        sleep(secs(3)).await;
        assert!(features.handle().store_error().is_some());
        store.set(Failure::None);
        sleep(secs(3)).await;
        assert_eq!(features.handle().store_error(), None);
    }
    assert_eq!(events_with(&logs, "the store doesn't work").len(), 1);
    assert_eq!(events_with(&logs, "the store works again").len(), 0);
    sleep(secs(62)).await;
    assert_eq!(events_with(&logs, "the store works again").len(), 1);
}
