//! What the tests share.

use std::time::Duration;

use backstop_health::{Component, Health};
use tokio::time::{Instant, sleep_until};

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Health of these components, with its driver running.
pub(crate) fn running(components: impl IntoIterator<Item = Component>) -> Health {
    let health = Health::builder().components(components).build().unwrap();
    tokio::spawn(health.run());
    health
}

/// Seconds since a moment, in paused time.
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn start() -> Self {
        Self(Instant::now())
    }

    /// Waits until `secs` after the start, and a moment longer, so that what is due then has happened.
    pub(crate) async fn at(&self, secs: f64) {
        sleep_until(self.0 + Duration::from_secs_f64(secs) + millis(1)).await;
    }

    /// The whole milliseconds since the start.
    pub(crate) fn elapsed(&self) -> u128 {
        self.0.elapsed().as_millis()
    }
}
