//! The time of records.

use tokio::time::Instant;

/// Milliseconds since the Unix epoch, as of the wall clock when it was made. It goes on evenly from there.
pub(crate) struct Clock {
    start: u64,
    since: Instant,
}

impl Clock {
    #[expect(clippy::disallowed_types, reason = "records are due by the wall clock")]
    pub(crate) fn new() -> Self {
        let start = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { start: start.as_millis() as u64, since: Instant::now() }
    }

    pub(crate) fn now(&self) -> u64 {
        self.start + self.since.elapsed().as_millis() as u64
    }
}
