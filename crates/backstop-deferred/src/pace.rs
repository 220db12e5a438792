//! How many jobs a worker runs at once: one at first, so that a dependency that recovers isn't flooded.

use std::time::Duration;

use tokio::time::Instant;

/// How long jobs must succeed for one more at once.
const STEP: Duration = Duration::from_secs(10);

/// The share of failures, in percent, below which a dependency works.
const FEW_FAILURES: u64 = 5;

pub(crate) struct Pace {
    at_once: usize,
    /// Since when jobs have succeeded.
    since: Instant,
    /// When the number was last halved.
    halved: Option<Instant>,
    /// How many have succeeded and failed lately.
    succeeded: u64,
    failed: u64,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { at_once: 1, since: Instant::now(), halved: None, succeeded: 0, failed: 0 }
    }

    pub(crate) const fn at_once(&self) -> usize {
        self.at_once
    }

    /// Up to `max`.
    pub(crate) fn succeeded(&mut self, max: usize) {
        self.succeeded += 1;
        if self.since.elapsed() >= STEP {
            (self.at_once, self.since) = ((self.at_once + 1).min(max), Instant::now());
            // What was long ago counts less.
            (self.succeeded, self.failed) = (self.succeeded / 2, self.failed / 2);
        }
    }

    /// Halves the number, at most once in a step. Few failures change nothing.
    pub(crate) fn failed(&mut self) {
        self.failed += 1;
        if 100 * self.failed < FEW_FAILURES * (self.failed + self.succeeded) {
            return;
        }
        let now = Instant::now();
        if self.halved.is_none_or(|halved| now - halved >= STEP) {
            (self.at_once, self.halved) = ((self.at_once / 2).max(1), Some(now));
        }
        (self.since, self.succeeded, self.failed) = (now, 0, 0);
    }

    /// Starts slowly again.
    pub(crate) fn restart(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_by_one_in_ten_seconds_and_is_halved_by_failures_once_in_ten_seconds() {
        let mut pace = Pace::new();
        (0..1_000).for_each(|_| pace.succeeded(8));
        assert_eq!(pace.at_once(), 1);
        for expected in [2, 3, 4, 5, 6, 7, 8, 8] {
            advance(STEP).await;
            pace.succeeded(8);
            assert_eq!(pace.at_once(), expected);
        }
        for expected in [4, 2, 1, 1] {
            (0..100).for_each(|_| pace.failed());
            assert_eq!(pace.at_once(), expected);
            advance(STEP).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn few_failures_do_not_hold_it_back() {
        let mut pace = Pace::new();
        for _ in 0..8 {
            for n in 1..=100 {
                if n % 50 == 0 {
                    pace.failed();
                } else {
                    pace.succeeded(8);
                }
                advance(STEP / 50).await;
            }
        }
        assert_eq!(pace.at_once(), 8);
    }
}
