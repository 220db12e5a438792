//! What is in a queue, as last counted by a worker of this process, and whether jobs may be taken.

use std::time::Duration;

use tokio::time::Instant;

use crate::{DeadLetter, store::Totals};

#[derive(Debug, Default)]
pub(crate) struct Counted {
    pub(crate) queued: Totals,
    pub(crate) running: Totals,
    pub(crate) dead: Totals,
    pub(crate) done: Totals,
    /// When the done ones were counted last.
    pub(crate) done_counted: Option<Instant>,
    /// The first dead letters.
    pub(crate) letters: Vec<DeadLetter>,
    /// When they were read, and how many there were.
    pub(crate) letters_read: Option<(Instant, u64)>,
    /// For how long the queued job has been due that has waited longest.
    pub(crate) oldest: Option<Duration>,
    pub(crate) store: StoreState,
    outage: Outage,
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

/// When the store was away last, as this process knows, in ms since the Unix epoch.
#[derive(Debug, Default)]
struct Outage {
    /// When it was last known to work. 0 at first: a process that is started during an outage doesn't know since when.
    works_at: u64,
    from: u64,
    until: u64,
}

/// How long after an outage a claim may run out because of it, in ms: its worker tries again each second.
const AFTER_OUTAGE: u64 = 3_000;

/// How long the dead letters that are shown aren't read again.
const READ_LETTERS_AGAIN: Duration = Duration::from_secs(30);

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
    /// What was counted at this time: queued, running, dead and done. Whether the dead letters that are shown must be read.
    pub(crate) fn update(&mut self, totals: &[Totals], oldest: Option<Duration>, now: u64) -> bool {
        if let [queued, running, dead, done] = *totals {
            (self.queued, self.running, self.dead, self.done) = (queued, running, dead, done);
        }
        (self.oldest, self.done_counted) = (oldest, Some(Instant::now()));
        self.works(now);
        self.letters_change()
    }

    fn works(&mut self, now: u64) {
        if matches!(self.store, StoreState::Failed(_)) {
            (self.outage.from, self.outage.until) = (self.outage.works_at, now + AFTER_OUTAGE);
        }
        (self.outage.works_at, self.store) = (now, StoreState::Works);
    }

    /// Whether the store was away when a claim ran out, so that its worker couldn't renew it and may live.
    pub(crate) const fn was_away(&self, ran_out: u64) -> bool {
        let Outage { from, until, .. } = self.outage;
        from <= ran_out && ran_out <= until && until > 0
    }

    pub(crate) const fn halt(&self, max_dead_letters: u64, max_dead_letter_bytes: u64) -> Option<Halt> {
        match self.store {
            StoreState::Unknown => Some(Halt::NotCounted),
            StoreState::Failed(_) => Some(Halt::StoreFailed),
            StoreState::Works if self.dead.records >= max_dead_letters || self.dead.bytes >= max_dead_letter_bytes => {
                Some(Halt::DeadLettersFull)
            }
            StoreState::Works => None,
        }
    }

    /// Whether the dead letters that are shown are others by now, and were read long enough ago: a store may have to read all.
    fn letters_change(&self) -> bool {
        self.letters_read.map_or(self.dead.records > 0, |(read, records)| {
            records != self.dead.records && read.elapsed() >= READ_LETTERS_AGAIN
        })
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
