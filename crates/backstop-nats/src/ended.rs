//! The lists of jobs that are done or dead.
//!
//! Each has a stream with a copy of each record, in the order in which they were moved there. As each is kept equally long, that is
//! the order in which they are due, unless that time was changed, or clocks differ.

mod reader;

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_deferred::{
    JobId, StoreError,
    store::{List, Totals},
};
use tokio::time::Instant;

use self::reader::Reader;
use crate::{
    jetstream::StreamMessage,
    record::{HEAD, Record},
    streams::Streams,
};

/// How long it holds that a list is empty, or what its totals are, unless this process changes it: workers ask all the time.
const HOLDS: Duration = Duration::from_secs(1);
/// How often records behind one that isn't due are looked at.
const BETWEEN_PROBES: Duration = Duration::from_secs(60);
/// What a server with file storage adds to the length of a message: a header, and a checksum.
const OVERHEAD: u64 = 22 + 8;

/// A record that was moved to a list.
pub(crate) struct Copy {
    pub(crate) id: JobId,
    pub(crate) sequence: u64,
    due: u64,
}

impl Copy {
    /// `None` if this version can't read it.
    fn read(StreamMessage { subject, sequence, payload }: StreamMessage) -> Option<Self> {
        let id = subject.rsplit('.').next()?.parse().ok()?;
        let Record { due, .. } = Record::decode(payload).ok()?;
        Some(Self { id, sequence, due })
    }
}

#[derive(Default)]
pub(crate) struct Ended {
    done: Mutex<Seen>,
    dead: Mutex<Seen>,
}

/// What was seen when the list was asked last.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// When the first record is due.
    first: Option<(u64, Instant)>,
    totals: Option<(Totals, Instant)>,
    /// When records behind the first were looked at.
    probed: Option<Instant>,
}

fn current<T>(seen: Option<(T, Instant)>) -> Option<T> {
    seen.filter(|(_, at)| at.elapsed() < HOLDS).map(|(seen, _)| seen)
}

impl Ended {
    fn seen(&self, list: List) -> MutexGuard<'_, Seen> {
        let seen = if list == List::Dead { &self.dead } else { &self.done };
        seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This process changes the list.
    pub(crate) fn changed(&self, list: List) {
        let mut seen = self.seen(list);
        *seen = Seen { probed: seen.probed, ..Seen::default() };
    }

    /// The copies of records that are due within `times`, at most `limit`.
    ///
    /// If `times` has an end, whoever asks removes what is found: the reading stops at the first record that isn't due, and goes on
    /// where one of some others is. Otherwise all are read.
    pub(crate) async fn due(
        &self,
        streams: &Streams,
        list: List,
        times: &RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<Copy>, StoreError> {
        let reader = Reader { streams, list };
        if *times.end() == u64::MAX {
            let mut copies = reader.read(1, usize::MAX, |_| true).await?;
            copies.retain(|copy| times.contains(&copy.due));
            copies.sort_by_key(|copy| (copy.due, copy.id));
            copies.truncate(limit);
            return Ok(copies);
        }
        let first = current(self.seen(list).first);
        if first.is_some_and(|first| first > *times.end()) && !self.is_time_to_probe(list) {
            return Ok(Vec::new());
        }
        let (is_due, asked) = (|due| times.contains(&due), Instant::now());
        let first = reader.next(1).await?;
        // What this version can't read is read over.
        let first_due = first.map_or(u64::MAX, |message| Copy::read(message).map_or(0, |copy| copy.due));
        self.seen(list).first = Some((first_due, asked));
        let mut copies = if first_due > *times.end() { Vec::new() } else { reader.read(1, limit, is_due).await? };
        if copies.is_empty() && self.is_time_to_probe(list) {
            // Jobs that ended later are due earlier if they are kept for less time.
            match reader.first_due_behind(is_due).await? {
                Some(sequence) => copies = reader.read(sequence, limit, is_due).await?,
                None => self.seen(list).probed = Some(asked),
            }
        }
        copies.sort_by_key(|copy| (copy.due, copy.id));
        Ok(copies)
    }

    /// Whether it is long ago that records behind the first were looked at.
    fn is_time_to_probe(&self, list: List) -> bool {
        self.seen(list).probed.is_none_or(|probed| probed.elapsed() >= BETWEEN_PROBES)
    }

    pub(crate) async fn totals(&self, streams: &Streams, list: List) -> Result<Totals, StoreError> {
        if let Some(totals) = current(self.seen(list).totals) {
            return Ok(totals);
        }
        let asked = Instant::now();
        let (records, bytes) = streams.totals(&streams.ended(list)).await?;
        // All subjects of a list have the same length.
        let subject = streams.ended_subject(list, JobId::from_bytes([0; 16])).len() as u64;
        let bytes = bytes.saturating_sub(records * (OVERHEAD + subject + HEAD as u64));
        let totals = Totals { records, bytes };
        self.seen(list).totals = Some((totals, asked));
        Ok(totals)
    }
}
