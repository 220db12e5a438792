//! What follows the level, the components and the stores, in the background.

use std::{
    sync::{
        Arc, Weak,
        atomic::Ordering::{Acquire, Relaxed},
    },
    time::Duration,
};

use backstop_core::Level;
use backstop_kit::{Jitter, bounded};
use bytes::Bytes;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep},
};

use crate::{
    CountReport, FleetVerdict, StoreError,
    erased_store::{ErasedCounts, ErasedFlags},
    registry::Registry,
    slot::Slot,
    store_errors::StoreKind,
    telemetry,
};

/// How often the level and the components are asked for, and changes that are due are made.
const TICK: Duration = Duration::from_millis(500);
/// The same where no level and no components are. Calls make due changes themselves, so this is for the metrics.
const IDLE_TICK: Duration = Duration::from_secs(1);
/// How often counts are reported.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// All flags are read this often, even if the version hasn't moved.
const REFRESH: Duration = Duration::from_secs(30);
/// How often the state of the store is reported again. Reports last 300 s.
const REPORT_AGAIN: Duration = Duration::from_secs(60);

/// Runs until it is dropped, or the registry is. The three parts don't wait for each other.
pub(crate) async fn run(registry: Weak<Registry>, turn: Arc<Semaphore>) {
    // Two drivers would report each call twice. It is never closed.
    let Ok(_turn) = turn.acquire().await else { return };
    let _driving = Driving::begin(&registry);
    let jitter = Jitter::new(None);
    tokio::join!(follow_sources(&registry), follow_flags(&registry, &jitter), report_counts(&registry, &jitter));
}

/// Shows that the registry has a driver, while this exists.
struct Driving<'a>(&'a Weak<Registry>);

impl<'a> Driving<'a> {
    fn begin(registry: &'a Weak<Registry>) -> Self {
        let driving = Self(registry);
        driving.set(true);
        driving
    }

    fn set(&self, has_driver: bool) -> bool {
        self.0.upgrade().is_some_and(|registry| registry.has_driver.swap(has_driver, Relaxed))
    }
}

impl Drop for Driving<'_> {
    fn drop(&mut self) {
        if self.set(false) {
            telemetry::driver_ended(std::thread::panicking());
        }
    }
}

async fn follow_sources(registry: &Weak<Registry>) {
    let mut reported: Option<(Option<String>, Instant)> = None;
    while let Some(registry) = registry.upgrade() {
        registry.ask_sources();
        registry.show_states_to_a_new_recorder();
        if let Some(reporter) = &registry.setup.store_reporter {
            let error = registry.store_errors.text();
            let is_due = |(last, at): &(_, Instant)| *last != error || at.elapsed() >= REPORT_AGAIN;
            if reported.as_ref().is_none_or(is_due) {
                let level = if error.is_some() { Level::Degraded } else { Level::Healthy };
                // Fails only if the component has too many reports by others.
                _ = reporter.report(level, error.as_deref().unwrap_or_default());
                reported = Some((error, Instant::now()));
            }
        }
        let tick = if registry.setup.sources.are_none() { IDLE_TICK } else { TICK };
        drop(registry);
        sleep(tick).await;
    }
}

async fn follow_flags(registry: &Weak<Registry>, jitter: &Jitter) {
    let mut reader = FlagReader::default();
    while let Some(registry) = registry.upgrade() {
        let Some(store) = &registry.setup.flags else { return };
        match reader.poll(&registry, &**store).await {
            Ok(()) => registry.store_errors.works(StoreKind::Flags),
            Err(error) => registry.store_errors.failed(StoreKind::Flags, &error),
        }
        let interval = registry.store_times().poll_interval;
        drop(registry);
        pause(jitter, interval).await;
    }
}

/// What was read of the flags.
#[derive(Default)]
struct FlagReader {
    /// The version. `None` before the first read.
    seen: Option<Option<Bytes>>,
    at: Option<Instant>,
    writes: u64,
}

impl FlagReader {
    /// Reads the version, and the flags if they may have changed.
    async fn poll(&mut self, registry: &Registry, store: &dyn ErasedFlags) -> Result<(), StoreError> {
        let version = bounded(registry.store_times().timeout, store.version()).await;
        // What was written here may be lost before its version was seen.
        let written = registry.writes();
        let is_due = written != self.writes || self.at.is_none_or(|at| at.elapsed() >= REFRESH);
        let has_moved = version.as_ref().is_ok_and(|version| self.seen.as_ref() != Some(version));
        if is_due || has_moved {
            // The version was read before the flags, so a change in between is seen at the next poll.
            read_flags(registry, store).await?;
            (self.at, self.writes) = (Some(Instant::now()), written);
            self.seen = Some(version?);
            return Ok(());
        }
        version.map(drop)
    }
}

async fn read_flags(registry: &Registry, store: &dyn ErasedFlags) -> Result<(), StoreError> {
    loop {
        let writes = registry.writes();
        let values = bounded(registry.store_times().timeout, store.read(registry.names())).await?;
        if registry.follow_flags(values, writes)? {
            return Ok(());
        }
    }
}

async fn report_counts(registry: &Weak<Registry>, jitter: &Jitter) {
    let reporters = |registry: Arc<Registry>| registry.declared().iter().map(Reporter::new).collect();
    let mut reporters: Vec<_> = registry.upgrade().map(reporters).unwrap_or_default();
    pause(jitter, REPORT_INTERVAL).await;
    while let Some(registry) = registry.upgrade() {
        let Some(store) = &registry.setup.counts else { return };
        report(&registry, &**store, &mut reporters).await;
        drop(registry);
        pause(jitter, REPORT_INTERVAL).await;
    }
}

async fn report(registry: &Registry, store: &dyn ErasedCounts, reporters: &mut [Reporter]) {
    let next = |reporter: &mut Reporter| reporter.next().map(|report| (Arc::clone(&reporter.slot), report));
    let (sent, reports): (Vec<_>, Vec<_>) = reporters.iter_mut().filter_map(next).unzip();
    // Without calls, nothing is asked, unless the store must show that it works again.
    if reports.is_empty() && !registry.store_errors.has_episode(StoreKind::Counts) {
        return;
    }
    // Never repeated: nobody knows whether a report that failed was counted.
    match bounded(registry.store_times().timeout, store.report(&registry.instance, &reports)).await {
        Ok(verdicts) if verdicts.len() != sent.len() => {
            let error = "it returned another number of verdicts".into();
            registry.store_errors.failed(StoreKind::Counts, &error);
        }
        Ok(verdicts) => {
            sent.iter().zip(verdicts).for_each(|(slot, verdict)| follow(registry, slot, verdict));
            registry.store_errors.works(StoreKind::Counts);
        }
        Err(error) => registry.store_errors.failed(StoreKind::Counts, &error),
    }
}

/// Does what the store says.
fn follow(registry: &Registry, slot: &Slot, verdict: FleetVerdict) {
    // An instance that is alone has judged itself.
    if let FleetVerdict::Degraded(remaining) = verdict {
        slot.follow_fleet(remaining);
    }
    registry.store_errors.set_counts(slot.name(), verdict == FleetVerdict::Malformed);
}

/// Waits for the interval ± 20 %.
async fn pause(jitter: &Jitter, interval: Duration) {
    sleep(jitter.around(interval)).await;
}

/// One feature, and what of its counts was reported.
struct Reporter {
    slot: Arc<Slot>,
    calls: u64,
    errors: u64,
    /// When that was.
    at: Instant,
}

impl Reporter {
    /// From now on: what an earlier driver may have reported isn't reported again.
    fn new(slot: &Arc<Slot>) -> Self {
        let errors = slot.counts.errors.load(Acquire);
        let calls = slot.counts.calls.load(Relaxed);
        Self { slot: Arc::clone(slot), calls, errors, at: Instant::now() }
    }

    /// What was counted since the last report. `None` if there were no calls, if the feature ignores its errors, or if the last
    /// report is longer ago than a window: the store has hung, or the process was stopped.
    fn next(&mut self) -> Option<CountReport> {
        // Errors first: each was counted as a call before.
        let errors = self.slot.counts.errors.load(Acquire);
        let calls = self.slot.counts.calls.load(Relaxed);
        let (new_calls, new_errors) = (calls - self.calls, errors - self.errors);
        let since = std::mem::replace(&mut self.at, Instant::now());
        (self.calls, self.errors) = (calls, errors);
        if new_calls == 0 {
            return None;
        }
        let rules = self.slot.error_rules()?;
        let window = Duration::from_nanos(rules.window);
        // A window may be as short as the interval.
        let is_recent = since.elapsed() <= window + REPORT_INTERVAL;
        is_recent.then(|| CountReport {
            feature: self.slot.name().clone(),
            calls: new_calls,
            errors: new_errors,
            window,
            min_errors: rules.min_errors,
            share_ppm: rules.share,
            degrade: Duration::from_nanos(rules.degrade),
            degrade_max: Duration::from_nanos(rules.degrade_max),
            settle: Duration::from_nanos(rules.settle),
        })
    }
}
