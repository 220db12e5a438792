//! The time of records.

use tokio::time::Instant;

/// Milliseconds since the Unix epoch, as of the wall clock when the process started. It goes on evenly from there, so that a wall
/// clock that is set back runs nothing twice and holds nothing up. If it is set back between two processes, the second one's
/// `end_long_waits` sees to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    start: u64,
    since: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_types, reason = "records outlive the process, and with it the monotonic clock")]
    pub(crate) fn new() -> Self {
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { start: start.as_millis() as u64, since: Instant::now() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start + self.since.elapsed().as_millis() as u64
    }
}
