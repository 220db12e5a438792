//! The decision that a [`CountStore`](crate::CountStore) makes for the whole fleet. The script of `backstop-redis` does the same.
//!
//! | a report | then |
//! |---|---|
//! | comes while the fleet is degraded | changes nothing |
//! | has no error, while no window runs | changes nothing: healthy traffic writes nothing |
//! | has an error, while no window runs | starts a window |
//! | makes enough errors and a large enough share of the calls, once the window has settled | decides |
//!
//! If several instances have reported, and all errors are those of the first one, that instance learns that it is alone, and
//! nobody else degrades. Otherwise the fleet does.

use std::time::Duration;

use tokio::time::Instant;

use crate::{CountReport, FleetVerdict};

#[derive(Debug, Default)]
pub(crate) struct FleetWindow {
    /// When the window started. `None` while there is none.
    start: Option<Instant>,
    calls: u64,
    errors: u64,
    /// The instance of the first error.
    who: String,
    /// Whether another instance has reported.
    has_peers: bool,
    /// Whether another instance has reported an error.
    is_shared: bool,
    /// When the degradation ends, or ended.
    until: Option<Instant>,
    trips: u32,
}

impl FleetWindow {
    pub(crate) fn report(&mut self, now: Instant, instance: &str, report: &CountReport) -> FleetVerdict {
        if let Some(left) = self.until.map(|until| until.saturating_duration_since(now)).filter(|left| !left.is_zero())
        {
            // The reporter that decided may have had a longer `degrade_max`.
            return FleetVerdict::Degraded(left.min(report.degrade_max));
        }
        let start = match self.start.filter(|start| now.duration_since(*start) < report.window) {
            Some(start) => start,
            None if report.errors == 0 => return FleetVerdict::Counting,
            None => {
                let (until, trips) = (self.until, self.trips);
                *self = Self { start: Some(now), who: instance.to_owned(), until, trips, ..Self::default() };
                now
            }
        };
        self.calls += report.calls.max(report.errors);
        self.errors += report.errors;
        let is_first = self.who == instance;
        if !is_first {
            self.has_peers = true;
            self.is_shared |= report.errors > 0;
        }
        if self.until.is_some_and(|until| now.duration_since(until) > report.degrade_max * 2) {
            self.trips = 0;
        }
        let is_enough = self.errors >= report.min_errors;
        let is_large = u128::from(self.errors) * 1_000_000 >= u128::from(self.calls) * u128::from(report.share_ppm);
        let has_settled = now.duration_since(start) >= report.settle;
        if !(is_enough && is_large && has_settled) {
            return FleetVerdict::Counting;
        }
        if self.has_peers && !self.is_shared {
            return if is_first { FleetVerdict::OnlyReporter } else { FleetVerdict::Counting };
        }
        self.trip(now, report)
    }

    fn trip(&mut self, now: Instant, report: &CountReport) -> FleetVerdict {
        let time = report.degrade.saturating_mul(1 << self.trips.min(20)).min(report.degrade_max);
        self.trips += 1;
        self.until = Some(now + time);
        self.start = None;
        FleetVerdict::Degraded(time.max(Duration::from_millis(1)))
    }
}
