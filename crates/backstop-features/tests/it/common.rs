//! What the tests share.
#![allow(clippy::unwrap_used, reason = "a helper of a test may fail it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{Name, Outcome};
use backstop_features::{
    CountReport, CountStore, Feature, FeatureState, Features, FlagStore, FleetVerdict, Level, MemoryStore, StoreError,
    StoredValue, feature,
};
use backstop_test::{LogEvent, Logs};
use bytes::Bytes;
use tokio::time::sleep;

pub(crate) static CHECKOUT: Feature = feature!("checkout");
pub(crate) static SEARCH: Feature = feature!("search");
pub(crate) static REVIEWS: Feature = feature!("reviews");

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// A level that a test sets.
#[derive(Clone, Default)]
pub(crate) struct Dial(Arc<AtomicU8>);

impl Dial {
    pub(crate) fn set(&self, level: Level) {
        self.0.store(level as u8, Relaxed);
    }

    pub(crate) fn level(&self) -> Level {
        [Level::Healthy, Level::Degraded, Level::Critical][usize::from(self.0.load(Relaxed))]
    }

    pub(crate) fn source(&self) -> impl Fn() -> Level + Send + Sync + 'static {
        let dial = self.clone();
        move || dial.level()
    }
}

/// Checkout, search and reviews, in the three tiers.
pub(crate) fn shop() -> backstop_features::FeaturesBuilder {
    Features::builder().declare(CHECKOUT.core()).declare(SEARCH.standard()).declare(REVIEWS.nice_to_have())
}

/// Spawns the driver, and gives it time for its first round.
#[expect(clippy::disallowed_methods, reason = "the test is the user, who spawns")]
pub(crate) async fn drive(features: &Features) {
    tokio::spawn(features.run());
    sleep(secs(2)).await;
}

pub(crate) fn fail(features: &Features, feature: &Feature, times: u32) {
    (0..times).for_each(|_| features.record(feature, &Outcome::failure()));
}

pub(crate) fn succeed(features: &Features, feature: &Feature, times: u32) {
    (0..times).for_each(|_| features.record(feature, &Outcome::success()));
}

/// A store that can be broken, and that counts its calls.
#[derive(Clone, Default)]
pub(crate) struct Breakable {
    pub(crate) inner: MemoryStore,
    failure: Arc<Mutex<Failure>>,
    pub(crate) versions: Arc<AtomicU32>,
    pub(crate) reads: Arc<AtomicU32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) enum Failure {
    #[default]
    None,
    Refuses,
    Hangs,
    Garbage,
}

impl Breakable {
    pub(crate) fn set(&self, failure: Failure) {
        *self.failure.lock().unwrap() = failure;
    }

    async fn pass(&self) -> Result<(), StoreError> {
        let failure = *self.failure.lock().unwrap();
        match failure {
            Failure::Refuses => Err("connection refused".into()),
            Failure::Hangs => std::future::pending().await,
            Failure::None | Failure::Garbage => Ok(()),
        }
    }

    fn is_garbage(&self) -> bool {
        *self.failure.lock().unwrap() == Failure::Garbage
    }
}

impl FlagStore for Breakable {
    async fn version(&self) -> Result<Option<Bytes>, StoreError> {
        self.versions.fetch_add(1, Relaxed);
        self.pass().await?;
        FlagStore::version(&self.inner).await
    }

    async fn read(&self, features: &[Name]) -> Result<Vec<StoredValue>, StoreError> {
        self.reads.fetch_add(1, Relaxed);
        self.pass().await?;
        if self.is_garbage() {
            return Ok(features.iter().map(|_| StoredValue::Malformed).collect());
        }
        FlagStore::read(&self.inner, features).await
    }

    async fn write(&self, feature: &Name, value: Bytes, ttl: Option<Duration>) -> Result<(), StoreError> {
        self.pass().await?;
        FlagStore::write(&self.inner, feature, value, ttl).await
    }
}

impl CountStore for Breakable {
    async fn report(&self, instance: &str, reports: &[CountReport]) -> Result<Vec<FleetVerdict>, StoreError> {
        self.pass().await?;
        if self.is_garbage() {
            return Ok(reports.iter().map(|_| FleetVerdict::Malformed).collect());
        }
        CountStore::report(&self.inner, instance, reports).await
    }
}

/// The state of a feature, whether or not a call is let through.
pub(crate) fn state(features: &Features, feature: &Feature) -> FeatureState {
    features.handle().get(feature).unwrap().state
}

/// The events with this text.
pub(crate) fn events_with(logs: &Logs, text: &str) -> Vec<LogEvent> {
    logs.events().iter().filter(|event| event.message().contains(text)).cloned().collect()
}
