//! The lists of jobs that are done or dead.
//!
//! Each has a stream with a copy of each record, in the order in which they were moved there. As each is kept equally long, that is
//! the order in which they are due.

use std::{
    ops::RangeInclusive,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use backstop_deferred::{JobId, List, StoreError, Totals};
use tokio::time::Instant;

use crate::{
    record::{HEAD, Record},
    streams::Streams,
};

/// How long it holds that a list is empty, or what its totals are, unless this process changes it: workers ask all the time.
const HOLDS: Duration = Duration::from_secs(1);
/// How long a list is read, one message after the other, until what was found is returned: half a call's time.
const PATIENCE: Duration = Duration::from_secs(1);
/// What a server with file storage adds to the length of a message: a header, and a checksum.
const OVERHEAD: u64 = 22 + 8;

/// A record that was moved to a list.
pub(crate) struct Copy {
    pub(crate) id: JobId,
    pub(crate) sequence: u64,
    due: u64,
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
        *self.seen(list) = Seen::default();
    }

    pub(crate) async fn due(
        &self,
        streams: &Streams,
        list: List,
        times: &RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<Copy>, StoreError> {
        if current(self.seen(list).first).is_some_and(|first| first > *times.end()) {
            return Ok(Vec::new());
        }
        let (stream, subjects) = (streams.ended(list), streams.ended_subjects(list));
        let (mut copies, mut next, mut is_first) = (Vec::new(), 1, true);
        let since = Instant::now();
        while copies.len() < limit && since.elapsed() < PATIENCE {
            let asked = Instant::now();
            let message = streams.jetstream.next(&stream, next, &subjects).await?;
            let due = match message {
                Some(message) => {
                    next = message.sequence + 1;
                    let id = message.subject.rsplit('.').next().and_then(|id| id.parse().ok());
                    // What this version can't read is left alone.
                    let (Some(id), Ok(Record { due, .. })) = (id, Record::decode(message.payload)) else { continue };
                    if times.contains(&due) {
                        copies.push(Copy { id, sequence: message.sequence, due });
                    }
                    due
                }
                None => u64::MAX,
            };
            if std::mem::take(&mut is_first) {
                self.seen(list).first = Some((due, asked));
            }
            if due > *times.end() || due == u64::MAX {
                break;
            }
        }
        copies.sort_by_key(|copy| copy.due);
        Ok(copies)
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
