//! How many jobs a worker runs at once: one at first, so that a dependency that recovers isn't flooded.

use std::time::Duration;

use tokio::time::Instant;

/// How long jobs must succeed for one more at once.
const STEP: Duration = Duration::from_secs(10);

pub(crate) struct Pace {
    at_once: usize,
    since: Instant,
}

impl Pace {
    pub(crate) fn new() -> Self {
        Self { at_once: 1, since: Instant::now() }
    }

    pub(crate) const fn at_once(&self) -> usize {
        self.at_once
    }

    /// Up to `max`.
    pub(crate) fn succeeded(&mut self, max: usize) {
        if self.since.elapsed() >= STEP {
            self.set((self.at_once + 1).min(max));
        }
    }

    pub(crate) fn failed(&mut self) {
        self.set((self.at_once / 2).max(1));
    }

    /// Starts slowly again.
    pub(crate) fn restart(&mut self) {
        self.set(1);
    }

    fn set(&mut self, at_once: usize) {
        (self.at_once, self.since) = (at_once, Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_grows_by_one_in_ten_seconds_and_is_halved_by_a_failure() {
        let mut pace = Pace::new();
        (0..1_000).for_each(|_| pace.succeeded(4));
        assert_eq!(pace.at_once(), 1);
        for expected in [2, 3, 4, 4] {
            advance(STEP).await;
            pace.succeeded(4);
            assert_eq!(pace.at_once(), expected);
        }
        for expected in [2, 1, 1] {
            pace.failed();
            assert_eq!(pace.at_once(), expected);
        }
    }
}
