//! How stale an answer may be when it is served.

use std::{fmt, sync::Arc, time::Duration};

use backstop_kit::AtomicDuration;

/// Says whether the circuit of the service is open.
pub(crate) type IsOpen = Arc<dyn Fn() -> bool + Send + Sync>;

pub(crate) struct Staleness {
    max_stale: AtomicDuration,
    /// The greater age while the circuit is open; zero if there is none.
    while_open: AtomicDuration,
    is_open: Option<IsOpen>,
}

impl Staleness {
    pub(crate) fn new(max_stale: Duration, while_open: Option<Duration>, is_open: Option<IsOpen>) -> Self {
        Self {
            max_stale: AtomicDuration::new(max_stale),
            while_open: AtomicDuration::new(while_open.unwrap_or_default()),
            is_open,
        }
    }

    pub(crate) fn set(&self, max_stale: Duration, while_open: Option<Duration>) {
        self.max_stale.set(max_stale);
        self.while_open.set(while_open.unwrap_or_default());
    }

    pub(crate) fn max_stale(&self) -> Duration {
        self.max_stale.get()
    }

    pub(crate) fn while_open(&self) -> Option<Duration> {
        Some(self.while_open.get()).filter(|age| !age.is_zero())
    }

    pub(crate) const fn knows_circuit(&self) -> bool {
        self.is_open.is_some()
    }

    /// The age up to which an answer is served now.
    pub(crate) fn now(&self) -> Duration {
        let is_open = || self.is_open.as_ref().is_some_and(|is_open| is_open());
        let while_open = self.while_open().filter(|_| is_open()).unwrap_or_default();
        self.max_stale().max(while_open)
    }

    /// The age up to which an answer is ever served.
    pub(crate) fn longest(&self) -> Duration {
        self.max_stale().max(self.while_open.get())
    }

    /// The same in seconds.
    pub(crate) fn longest_seconds(&self) -> u32 {
        u32::try_from(self.longest().as_secs()).unwrap_or(u32::MAX)
    }
}

impl fmt::Debug for Staleness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Staleness")
            .field("max_stale", &self.max_stale())
            .field("while_open", &self.while_open())
            .finish_non_exhaustive()
    }
}
