//! How much of a body's time its reader waited for it.

use std::time::Duration;

use tokio::time::Instant;

/// How long a reader has waited for a body so far.
///
/// When a limit ends a body, this says who was slow: the source, if the reader waited for most of the time, otherwise the
/// reader. A layer calls [`start`](Self::start) when the body is pending, and [`stop`](Self::stop) when it no longer is.
///
/// ```
/// use std::time::Duration;
///
/// use backstop_kit::WaitTime;
/// use tokio::time::Instant;
///
/// let began = Instant::now();
/// let after = |secs| began + Duration::from_secs(secs);
/// let mut wait = WaitTime::default();
/// wait.start(after(50));
/// wait.stop(after(55));
/// wait.start(after(59));
/// assert_eq!(wait.until(after(60)), Duration::from_secs(6));
/// assert!(!wait.is_most_of(began, after(60)), "the reader was away for 54 s");
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct WaitTime {
    ended: Duration,
    /// When the current wait began.
    since: Option<Instant>,
}

impl WaitTime {
    /// Starts with a wait that came before the body: for the response head.
    #[must_use]
    pub const fn after(wait: Duration) -> Self {
        Self { ended: wait, since: None }
    }

    /// The body is pending since `now`. No effect if it was pending already.
    pub fn start(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The body was polled at `now`, and isn't pending any more.
    #[inline]
    pub fn stop(&mut self, now: Instant) {
        if self.since.is_some() {
            self.ended = self.until(now);
            self.since = None;
        }
    }

    /// Discards the current wait: a frame was ready, and the reader didn't poll.
    pub const fn forget_current(&mut self) {
        self.since = None;
    }

    /// Whether the reader waits now.
    #[must_use]
    pub const fn is_waiting(&self) -> bool {
        self.since.is_some()
    }

    /// The sum of all waits until `now`.
    #[must_use]
    pub fn until(&self, now: Instant) -> Duration {
        self.ended + self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Whether the reader waited for at least half of the time from `began` to `ended`.
    #[must_use]
    pub fn is_most_of(&self, began: Instant, ended: Instant) -> bool {
        self.until(ended) >= ended.saturating_duration_since(began) / 2
    }
}
