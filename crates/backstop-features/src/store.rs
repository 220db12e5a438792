//! The traits of stores.

use std::time::Duration;

use backstop_core::Name;
use backstop_kit::StoreError;
use bytes::Bytes;

/// Keeps operators' flags for all instances: `backstop-redis`, [`MemoryStore`](crate::MemoryStore), or your own.
///
/// No request waits for it. Each call is limited to [`store_timeout`](crate::FeaturesBuilder::store_timeout). While the store
/// fails, the last flags that were read hold.
///
/// # Cancellation
/// Each future may be dropped at any time. The operation may then have happened or not.
pub trait FlagStore: Send + Sync + 'static {
    /// A value that changes whenever a flag is [written](Self::write). Read once a second. `None` if no flag was ever written.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell. The instance reads the flags every 30 s anyway.
    fn version(&self) -> impl Future<Output = Result<Option<Bytes>, StoreError>> + Send;

    /// What is under each of these names, in their order. Read when the version has changed, and every 30 s.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell.
    fn read(&self, features: &[Name]) -> impl Future<Output = Result<Vec<StoredValue>, StoreError>> + Send;

    /// Writes `value` under `feature`, for `ttl`, and changes the version.
    ///
    /// # Errors
    /// [`StoreError`] if the value may not have been written.
    fn write(
        &self,
        feature: &Name,
        value: Bytes,
        ttl: Option<Duration>,
    ) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// What a [`FlagStore`] has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoredValue {
    /// Nothing.
    Missing,
    /// These bytes. Only the first [`FLAG_MAX_BYTES`](crate::FLAG_MAX_BYTES) + 1 are needed.
    Value {
        /// The bytes.
        bytes: Bytes,
        /// What is left of their time to live.
        ttl: Option<Duration>,
    },
    /// Something that the store can't read as bytes.
    Malformed,
}

/// Adds up the calls and errors of all instances, and decides when a feature degrades for the whole fleet.
///
/// The decision must be atomic. [`MemoryStore`](crate::MemoryStore) is the reference: its file `fleet_window.rs` has the rules.
/// A report is never repeated: if its fate is unknown, its calls are lost, rather than counted twice.
///
/// # Cancellation
/// The future may be dropped at any time. The reports may then be counted or not.
pub trait CountStore: Send + Sync + 'static {
    /// Adds what `instance` has seen since its last report: one report for each feature with calls. Called once a second.
    ///
    /// Without any reports it asks whether the store works again after a failure.
    ///
    /// # Errors
    /// [`StoreError`] if the store can't tell. The answers are in the order of the reports.
    fn report(
        &self,
        instance: &str,
        reports: &[CountReport],
    ) -> impl Future<Output = Result<Vec<FleetVerdict>, StoreError>> + Send;
}

/// What an instance has seen of a feature since its last report, and the rules of the feature.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountReport {
    /// The feature.
    pub feature: Name,
    /// Calls that ended.
    pub calls: u64,
    /// How many of them failed.
    pub errors: u64,
    /// How long a window lasts, from its first error.
    pub window: Duration,
    /// How many errors it takes.
    pub min_errors: u64,
    /// The share of the calls that must have failed, in parts per million.
    pub share_ppm: u32,
    /// How long a feature is degraded for the first time.
    pub degrade: Duration,
    /// How long at most.
    pub degrade_max: Duration,
    /// How long after the first error the store decides at the earliest, so that all instances have reported.
    pub settle: Duration,
}

impl CountReport {
    /// A report with the default rules, for tests of a store.
    #[must_use]
    pub const fn new(feature: Name, calls: u64, errors: u64) -> Self {
        Self {
            feature,
            calls,
            errors,
            window: Duration::from_secs(60),
            min_errors: 5,
            share_ppm: 50_000,
            degrade: Duration::from_secs(300),
            degrade_max: Duration::from_secs(3_600),
            settle: Duration::from_secs(2),
        }
    }

    /// With this window.
    #[must_use]
    pub const fn window(mut self, window: Duration) -> Self {
        self.window = window;
        self
    }

    /// With these times of a degradation.
    #[must_use]
    pub const fn degrade(mut self, first: Duration, max: Duration) -> Self {
        (self.degrade, self.degrade_max) = (first, max);
        self
    }

    /// With this time to settle.
    #[must_use]
    pub const fn settle(mut self, settle: Duration) -> Self {
        self.settle = settle;
        self
    }
}

/// What a [`CountStore`] says about a feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FleetVerdict {
    /// Nothing is decided.
    Counting,
    /// The fleet is degraded for this long from now.
    Degraded(Duration),
    /// The errors are those of the reporting instance alone. It degrades itself, and nobody else.
    OnlyReporter,
    /// Something else lies under the feature's key, or the store refuses the key. It was left alone.
    Malformed,
}
