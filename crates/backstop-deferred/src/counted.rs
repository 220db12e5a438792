//! What is in a queue, as last counted by a worker of this process, and whether jobs may be taken.

use std::time::Duration;

use tokio::time::Instant;

use crate::Totals;

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) queued: Totals,
    pub(crate) running: Totals,
    pub(crate) dead: Totals,
    /// For how long the queued job has been due that has waited longest.
    pub(crate) oldest: Option<Duration>,
    pub(crate) store: StoreState,
    /// When a worker of this process last showed a sign of life.
    pub(crate) worked: Option<Instant>,
    /// What the log says.
    logged: Option<Halt>,
}

#[derive(Debug, Default)]
pub(crate) enum StoreState {
    /// Not asked yet.
    #[default]
    Unknown,
    Works,
    Failed(String),
}

/// Why no job is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Halt {
    NotCounted,
    StoreFailed,
    DeadLettersFull,
    NoWorker,
}

impl Halt {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotCounted => "not-counted",
            Self::StoreFailed => "store-failed",
            Self::DeadLettersFull => "dead-letters-full",
            Self::NoWorker => "no-worker",
        }
    }
}

impl Counted {
    pub(crate) const fn halt(&self, max_dead: u64, max_dead_bytes: u64) -> Option<Halt> {
        match self.store {
            StoreState::Unknown => Some(Halt::NotCounted),
            StoreState::Failed(_) => Some(Halt::StoreFailed),
            StoreState::Works if self.dead.records >= max_dead || self.dead.bytes >= max_dead_bytes => {
                Some(Halt::DeadLettersFull)
            }
            StoreState::Works => None,
        }
    }

    /// Whether the log doesn't say so yet.
    pub(crate) fn is_news(&mut self, halt: Option<Halt>) -> bool {
        let is_news = halt != Some(Halt::NotCounted) && halt != self.logged;
        if is_news {
            self.logged = halt;
        }
        is_news
    }
}
