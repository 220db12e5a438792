//! Jobs that have failed for good.

use std::{collections::HashSet, time::Duration};

use backstop_kit::StoreError;
use futures_util::future::try_join_all;

use crate::{
    Failure, JobId,
    queue::Queue,
    record::{Record, State},
    store::{List, StoredRecord},
};

/// How many dead letters are read together.
const PAGE: usize = 100;

/// A job that has failed for good, without its payload.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter {
    /// The job's id.
    pub id: JobId,
    /// Its kind.
    pub kind: String,
    /// The version of its kind.
    pub version: u32,
    /// How many attempts counted.
    pub attempts: u32,
    /// Why it is here.
    pub failure: Failure,
    /// When it was accepted, or replayed last, in milliseconds since the Unix epoch. 0 if its record can't be read.
    pub accepted: u64,
    /// When it is removed, in milliseconds since the Unix epoch.
    pub kept_until: u64,
}

impl DeadLetter {
    /// `None` if the record isn't one of a dead letter.
    fn new(id: JobId, (stored, record): (StoredRecord, Record)) -> Option<Self> {
        let Record { state: State::Failed(failure), kind, kind_version: version, attempts, accepted, .. } = record
        else {
            return None;
        };
        Some(Self { id, kind, version, attempts, failure, accepted, kept_until: stored.place.due })
    }

    const fn position(&self) -> (u64, JobId) {
        (self.kept_until, self.id)
    }
}

/// What an operator does to dead letters.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Action {
    /// Queues them again.
    Replay,
    /// Removes them.
    Discard,
}

/// Drops those that were replayed and failed again since they were listed in order: the next page would begin after them.
fn drop_moved(letters: &mut Vec<DeadLetter>) {
    // Whether the last one has moved, nobody knows. The next page has it.
    let mut next = letters.pop().as_ref().map(DeadLetter::position);
    letters.reverse();
    letters.retain(|letter| {
        let is_in_order = next.is_none_or(|next| letter.position() < next);
        if is_in_order {
            next = Some(letter.position());
        }
        is_in_order
    });
    letters.reverse();
}

impl Queue {
    /// The record of a job, if it can be read.
    pub(crate) async fn record(&self, id: JobId) -> Result<Option<(StoredRecord, Record)>, StoreError> {
        let stored = self.store.get(id).await?;
        Ok(stored.and_then(|stored| {
            let record = Record::decode(stored.bytes.clone())?;
            Some((stored, record))
        }))
    }

    async fn dead_letter(&self, id: JobId) -> Result<Option<(StoredRecord, Record)>, StoreError> {
        let is_failed = |(_, record): &(StoredRecord, Record)| matches!(record.state, State::Failed(_));
        Ok(self.record(id).await?.filter(is_failed))
    }

    /// The dead letters after this one.
    pub(crate) async fn dead_letters(
        &self,
        after: Option<&DeadLetter>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let position = after.map(DeadLetter::position);
        let (from, mut asked) = (position.map_or(0, |(due, _)| due), limit.saturating_add(2));
        loop {
            let ids = self.store.due(List::Dead, from..=u64::MAX, asked).await?;
            let is_all = ids.len() < asked;
            let read = try_join_all(ids.into_iter().map(async |id| {
                Ok::<_, StoreError>(self.record(id).await?.and_then(|found| DeadLetter::new(id, found)))
            }));
            let mut letters: Vec<_> = read.await?.into_iter().flatten().collect();
            letters.retain(|letter| position.is_none_or(|position| letter.position() > position));
            let is_last = is_all && letters.len() <= limit;
            if !is_last {
                drop_moved(&mut letters);
            }
            // Otherwise all of them are due together with the one before, or have moved.
            if is_last || !letters.is_empty() {
                letters.truncate(limit);
                return Ok(letters);
            }
            asked = asked.saturating_mul(2);
        }
    }

    /// Replays or discards a dead letter. Whether it was one.
    pub(crate) async fn act_on(&self, id: JobId, action: Action) -> Result<bool, StoreError> {
        match action {
            Action::Replay => self.replay(id).await,
            Action::Discard => self.discard(id).await,
        }
    }

    /// Queues it again.
    async fn replay(&self, id: JobId) -> Result<bool, StoreError> {
        let Some((stored, record)) = self.dead_letter(id).await? else { return Ok(false) };
        let (accepted, expires) = self.times();
        let record = Record { state: State::Queued, attempts: 0, crashes: 0, token: 0, accepted, expires, ..record };
        let place = self.place(List::Queued, Duration::ZERO);
        let is_queued = self.store.replace(id, stored.version, record.encode(), place).await?.is_some();
        self.added.notify_one();
        Ok(is_queued)
    }

    /// Removes it.
    async fn discard(&self, id: JobId) -> Result<bool, StoreError> {
        let Some((stored, _)) = self.dead_letter(id).await? else { return Ok(false) };
        self.store.remove(id, stored.version).await
    }

    /// Replays or discards at most `limit` dead letters that `which` chooses. How many.
    pub(crate) async fn act_on_many(
        &self,
        action: Action,
        limit: usize,
        which: impl Fn(&DeadLetter) -> bool,
    ) -> Result<usize, StoreError> {
        // A job that is replayed may come back at once.
        let (mut done, mut last) = (HashSet::new(), None);
        while done.len() < limit {
            let page = self.dead_letters(last.as_ref(), PAGE).await?;
            for letter in page.iter().filter(|letter| which(letter)) {
                if done.len() < limit && !done.contains(&letter.id) && self.act_on(letter.id, action).await? {
                    done.insert(letter.id);
                }
            }
            last = page.into_iter().next_back();
            if last.is_none() {
                break;
            }
        }
        Ok(done.len())
    }
}
