//! What others know is shown, and moves nothing.

use std::{
    future::pending,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_health::{
    Component, ComponentState, Health, Level, MemoryViewStore, Name, StoreError, VIEWS_MAX, ViewStore, name,
};
use backstop_test::Logs;
use bytes::Bytes;

use crate::common::{Clock, running, secs};

fn shared(store: impl ViewStore, instance: &str) -> Health {
    let [search, views] = ["search", "view_store"].map(Component::optional);
    let health = running([Component::essential("database"), search, views]);
    health.report("database", Level::Healthy, "", secs(86_400)).unwrap();
    tokio::spawn(health.share("view_store", store, instance).unwrap());
    health
}

#[tokio::test(start_paused = true)]
async fn instances_see_one_another_and_move_nothing() {
    let store = MemoryViewStore::new();
    let [one, other] = ["one", "other"].map(|instance| shared(store.clone(), instance));
    let clock = Clock::start();
    one.report("database", Level::Critical, "gone", secs(86_400)).unwrap();
    clock.at(30.0).await;
    let seen = other.instances();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].instance.as_str(), seen[0].status, seen[0].level), ("one", Level::Critical, Level::Critical));
    assert_eq!(seen[0].components[0], (name!("database"), ComponentState::Critical));
    assert_eq!((other.status(), other.level()), (Level::Healthy, Level::Healthy));
}

#[tokio::test(start_paused = true)]
async fn the_view_of_an_instance_that_is_gone_disappears() {
    let store = MemoryViewStore::new();
    let [one, other] = ["one", "other"].map(|instance| shared(store.clone(), instance));
    let clock = Clock::start();
    clock.at(10.0).await;
    assert_eq!(other.instances().len(), 1);
    drop(one);
    clock.at(40.0).await;
    assert_eq!(other.instances().len(), 0);
    // One that drains says so, and removes its view.
    other.drain().begin();
    clock.at(60.0).await;
    assert!(!store.all().await.unwrap().is_empty());
    clock.at(66.0).await;
    assert!(store.all().await.unwrap().is_empty());
}

/// Works, fails, hangs, or returns garbage.
#[derive(Clone)]
struct FailingStore {
    inner: MemoryViewStore,
    how: Arc<AtomicU8>,
}

impl FailingStore {
    async fn act(&self) -> Result<(), StoreError> {
        match self.how.load(Relaxed) {
            1 => Err("connection\nrefused".into()),
            2 => pending().await,
            _ => Ok(()),
        }
    }
}

impl ViewStore for FailingStore {
    async fn put(&self, instance: &Name, view: Bytes, ttl: Duration) -> Result<(), StoreError> {
        self.act().await?;
        self.inner.put(instance, view, ttl).await
    }

    async fn all(&self) -> Result<Vec<(String, Bytes)>, StoreError> {
        self.act().await?;
        let mut all = self.inner.all().await?;
        if self.how.load(Relaxed) == 3 {
            all.push(("x y".to_owned(), Bytes::from_static(b"garbage")));
            all.push(("worse".to_owned(), Bytes::from(vec![0xFF; 1_000_000])));
            all.push(("worst".to_owned(), Bytes::from_static(b"backstop-health 99\n")));
        }
        Ok(all)
    }

    async fn remove(&self, instance: &Name) -> Result<(), StoreError> {
        self.inner.remove(instance).await
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_is_a_degraded_component_is_logged_once_and_moves_nothing() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let inner = MemoryViewStore::new();
    let how = Arc::new(AtomicU8::new(0));
    let _one = shared(inner.clone(), "one");
    let other = shared(FailingStore { inner, how: Arc::clone(&how) }, "other");
    let clock = Clock::start();
    let mut second = 10.0;
    let store = other.component("view_store").unwrap();
    for (failure, still_seen, message) in
        [(1, 0, Some("connection\\nrefused")), (2, 0, Some("it took longer than 1s")), (3, 1, None)]
    {
        how.store(0, Relaxed);
        clock.at(second).await;
        assert_eq!(other.instances().len(), 1, "before {failure}");
        assert_eq!(store.state(), ComponentState::Healthy);
        how.store(failure, Relaxed);
        clock.at(second + 60.0).await;
        assert_eq!(other.instances().len(), still_seen, "{failure}");
        let view = other.view();
        assert_eq!(view.components().last().unwrap().message(), message, "{failure}");
        let expected = if message.is_some() { Level::Degraded } else { Level::Healthy };
        assert_eq!((store.state(), other.status()), (expected.into(), expected), "{failure}");
        assert_eq!(other.level(), Level::Healthy);
        second += 70.0;
    }
    let warnings = logs.events().with_target("backstop::health").at(tracing::Level::WARN);
    let errors: Vec<_> = warnings.iter().filter_map(|warning| warning.field("error")).collect();
    assert_eq!(errors, ["connection\\nrefused"]);
    for (component, instance, field) in
        [("view_store", "a b", "instance"), ("database", "other", "component"), ("unknown", "other", "component")]
    {
        assert_eq!(other.share(component, MemoryViewStore::new(), instance).err().unwrap().field, field);
    }
}

#[tokio::test(start_paused = true)]
async fn a_store_that_fails_every_now_and_then_is_logged_once_until_it_has_worked_for_a_minute() {
    let logs = Logs::new();
    let _guard = logs.listen();
    let how = Arc::new(AtomicU8::new(0));
    let _health = shared(FailingStore { inner: MemoryViewStore::new(), how: Arc::clone(&how) }, "one");
    let clock = Clock::start();
    let lines = |at| {
        let events = logs.events().with_target("backstop::health").at(at);
        events.iter().filter(|event| event.message().starts_with("the store of the shared view")).count()
    };
    for second in 0..40 {
        how.store(second % 2, Relaxed);
        clock.at(f64::from(second) * 20.0).await;
    }
    assert_eq!((lines(tracing::Level::WARN), lines(tracing::Level::INFO)), (1, 0));
    how.store(0, Relaxed);
    clock.at(900.0).await;
    assert_eq!((lines(tracing::Level::WARN), lines(tracing::Level::INFO)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn no_more_views_are_parsed_than_are_kept() {
    let store = MemoryViewStore::new();
    let _one = shared(store.clone(), "z");
    for i in 1..VIEWS_MAX {
        let name = format!("garbage-{i}").parse().unwrap();
        store.put(&name, Bytes::from_static(b"garbage"), Duration::from_secs(3_600)).await.unwrap();
    }
    let other = shared(store.clone(), "other");
    let clock = Clock::start();
    clock.at(10.0).await;
    assert_eq!(other.instances().len(), 1);
    store.put(&name!("y"), Bytes::from_static(b"garbage"), Duration::from_secs(3_600)).await.unwrap();
    clock.at(20.0).await;
    assert_eq!(other.instances().len(), 0);
}
