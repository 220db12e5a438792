//! A bulkhead's permits, limits and name, shared by its services, bodies and handles.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use backstop_core::{ConfigError, Name, Reason, Rejection, RejectionDetail, SetBy};
use backstop_kit::{AtomicDuration, Elapsed, Progress, Registration};
use tokio::time::Instant;

use crate::{
    config::{BulkheadConfig, Settings},
    metrics::Metrics,
    permits::Permits,
    telemetry::{self, Refusal},
};

/// The minimum `Retry-After` of a refusal: the header's unit.
const SHORTEST_RETRY_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Limiter {
    name: Name,
    metrics: Metrics,
    permits: Permits,
    max_wait: AtomicDuration,
    max_hold: AtomicDuration,
    /// Whether permits go on with bodies.
    holds_bodies: bool,
    /// Makes reloads run one after another, so that the settings of one of them are left.
    reloading: Mutex<()>,
    _registration: Registration,
}

impl Limiter {
    pub(crate) fn new(name: Name, settings: &Settings, holds_bodies: bool) -> Self {
        let Settings { max_concurrent, max_waiting, max_wait, max_hold } = *settings;
        Self {
            _registration: Registration::new("bulkhead", name.clone()),
            metrics: Metrics::new(&name),
            name,
            permits: Permits::new(max_concurrent, max_waiting),
            max_wait: AtomicDuration::new(max_wait),
            max_hold: AtomicDuration::new(max_hold),
            holds_bodies,
            reloading: Mutex::new(()),
        }
    }

    /// Checks settings for [`reload`](Self::reload).
    pub(crate) fn check(&self, config: BulkheadConfig) -> Result<Settings, ConfigError> {
        let (name, settings) = config.check(self.holds_bodies)?;
        if name != self.name {
            return Err(ConfigError::new("name", name.to_string(), "the layer's own"));
        }
        Ok(settings)
    }

    /// Changes the settings for calls that begin afterwards. The permits that are out, and the calls that wait, stay.
    pub(crate) fn reload(&self, settings: &Settings) {
        let _reloading = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.max_wait.set(settings.max_wait);
        self.max_hold.set(settings.max_hold);
        self.permits.reload(settings.max_concurrent, Some(settings.max_waiting));
        self.show_in_use();
    }

    pub(crate) const fn name(&self) -> &Name {
        &self.name
    }

    pub(crate) const fn permits(&self) -> &Permits {
        &self.permits
    }

    pub(crate) fn max_wait(&self) -> Duration {
        self.max_wait.get()
    }

    pub(crate) fn max_hold(&self) -> Duration {
        self.max_hold.get()
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.take_back_expired();
        self.permits.in_use()
    }

    pub(crate) fn set_max_concurrent(&self, limit: u32) {
        self.permits.set_limit(limit);
        self.show_in_use();
    }

    /// Takes back the permits of bodies whose time is up, even if nobody reads them.
    pub(crate) fn take_back_expired(&self) {
        let expired = self.permits.take_back_expired(Instant::now());
        for max_hold in &expired {
            telemetry::held_too_long(&self.name, *max_hold);
            self.metrics.held_too_long();
        }
        if !expired.is_empty() {
            self.show_in_use();
        }
    }

    pub(crate) fn show_in_use(&self) {
        self.metrics.show_in_use(|| self.permits.in_use());
    }

    /// Rejects a call.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Rejection {
        telemetry::refused(&self.name, refusal, self.permits.limit());
        self.metrics.refused();
        match refusal {
            Refusal::Full | Refusal::Waited => {
                // By then, every call that is waiting now is running, or was refused.
                let wait = self.max_wait().max(SHORTEST_RETRY_AFTER);
                Rejection::refused(self.name.clone(), Reason::BULKHEAD_FULL)
                    .with_retry_after(Some(wait))
                    .with_static_detail(&Full)
            }
            Refusal::Deadline(set_by) => self.too_late(set_by, Progress::NotAsked),
        }
    }

    pub(crate) fn too_late(&self, set_by: SetBy, progress: Progress) -> Rejection {
        Elapsed::new(set_by, progress).rejection(self.name.clone())
    }
}

/// The detail of a refusal.
#[derive(Debug)]
struct Full;

impl RejectionDetail for Full {
    fn describe(&self, by: &Name, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bulkhead {by} is full")
    }
}

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter")
            .field("name", &self.name)
            .field("in_use", &self.permits.in_use())
            .field("max_concurrent", &self.permits.limit())
            .finish_non_exhaustive()
    }
}
