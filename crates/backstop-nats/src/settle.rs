//! What becomes of wake-ups, and of the lists of jobs that have ended.
//!
//! | the record of a wake-up is | then |
//! |---|---|
//! | pending, and due | the job is handed to a worker |
//! | pending, and not due | the wake-up is delivered again when it is |
//! | pending, and due later than anything is meant to be | the job is handed to a worker that asks for such jobs |
//! | not there, or dead | it may be on the way: the wake-up is delivered again after 50 ms, and twice as long each time. In the 10th, after 25 s, it is settled |
//! | done | it is settled |
//! | unreadable, because a newer version has written it, or the wake-up is | the wake-up is delivered again after 30 s |
//!
//! To settle one, the record is written once more, with nothing in it if there is none. So a write that comes late fails: it expects
//! an earlier version. Then the wake-up is acknowledged.

use std::{ops::RangeInclusive, time::Duration};

use async_nats::Subject;
use backstop_deferred::{JobId, StoreError, store::List};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    queue::Queue,
    record::{Location, Record},
    wakeups::Held,
};

/// How much earlier than a record is due its wake-up may be held, in ms.
pub(crate) const SOON: u64 = 1_000;
/// How long after its delivery a wake-up needn't be postponed.
const RECENT: Duration = Duration::from_secs(3);
/// How long a wake-up is left alone whose record can't be read: a newer process may be able to.
const LEAVE_ALONE: Duration = Duration::from_secs(30);
/// After how long a wake-up is delivered again whose record may be on the way, for the first time.
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// In which delivery a wake-up without a record is settled.
const LAST_DELIVERY: u64 = 10;
/// How long a creation that took too long can't succeed, in ms: several times as long as a call of a store may take.
const KEEP_NOWHERE: u64 = 5 * 60 * 1_000;
/// The longest delay of a delivery. A record that is due later is looked at once more then.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Queue {
    /// What follows from a write of a record: for its wake-up, and for the list of ended ones.
    pub(crate) async fn settle(&self, id: JobId, record: &Record, held: Option<Held>) -> Result<(), StoreError> {
        let jetstream = &self.streams.jetstream;
        match record.location {
            Location::In(List::Running) => {
                self.wakeups.set_place(id, List::Running, record.due);
                // A claim lasts as long as a delivery, and is renewed long before.
                if let Some(held) = held
                    && held.arrived.elapsed() > RECENT
                {
                    jetstream.send(&held.delivery, b"+WPI").await?;
                }
            }
            Location::In(List::Queued) => {
                if let Some(held) = held {
                    let wait = Duration::from_millis(record.due.saturating_sub(self.clock.now()));
                    self.deliver_again(&held.delivery, wait).await?;
                }
            }
            Location::In(List::Done | List::Dead) | Location::Nowhere => {
                let list = if record.location == Location::In(List::Dead) { List::Dead } else { List::Done };
                jetstream.publish(self.streams.ended_subject(list, id), record.encode(), None).await?;
                self.ended.changed(list);
                match held {
                    // If it is lost, the wake-up is delivered again, and settled. To wait for an answer takes a tenth of a job's time.
                    Some(held) if list == List::Done => jetstream.send(&held.delivery, b"+ACK").await?,
                    Some(held) => jetstream.acknowledge(&held.delivery, Bytes::from_static(b"+ACK")).await?,
                    None => {}
                }
            }
        }
        Ok(())
    }

    async fn deliver_again(&self, delivery: &Subject, after: Duration) -> Result<(), StoreError> {
        let delay = after.min(LONGEST_DELAY).as_nanos();
        let answer = if delay == 0 { "-NAK".to_owned() } else { format!("-NAK {{\"delay\":{delay}}}") };
        self.streams.jetstream.acknowledge(delivery, answer).await
    }

    /// Has the wake-up of a job that can't be run here delivered to any process after this time.
    pub(crate) async fn give_back(&self, id: JobId, after: Duration) -> Result<(), StoreError> {
        match self.wakeups.remove(id) {
            Some(held) => self.deliver_again(&held.delivery, after).await,
            None => Ok(()),
        }
    }

    /// Has all wake-ups that no job was begun for delivered again at once.
    pub(crate) async fn release(&self) -> Result<(), StoreError> {
        let released = self.wakeups.release().await?;
        let deliver = released.iter().map(|delivery| self.deliver_again(delivery, Duration::ZERO));
        join_all(deliver).await.into_iter().collect()
    }

    pub(crate) async fn due_pending(
        &self,
        list: List,
        times: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        self.ask_from(list, *times.start());
        if list == List::Queued {
            self.wakeups.receive(&self.streams, limit).await?;
            let unknown = self.wakeups.unknown();
            for result in join_all(unknown.into_iter().map(|(id, held)| self.look_at(id, held))).await {
                result?;
            }
            for delivery in self.wakeups.take_unreadable() {
                self.deliver_again(&delivery, LEAVE_ALONE).await?;
            }
        }
        Ok(self.wakeups.due(list, &times, limit))
    }

    /// Reads the record of a wake-up, and decides what becomes of that.
    ///
    /// The record may be an old one: whatever is written because of it fails, then.
    async fn look_at(&self, id: JobId, held: Held) -> Result<(), StoreError> {
        let (jobs, subject) = (self.streams.jobs(), self.streams.job_subject(id));
        let found = match self.streams.jetstream.last_of_any_replica(&jobs, &subject).await? {
            Some((version, bytes)) => {
                let Ok(record) = Record::decode(bytes) else {
                    self.wakeups.remove(id);
                    return self.deliver_again(&held.delivery, LEAVE_ALONE).await;
                };
                Some((version, record))
            }
            None => None,
        };
        let now = self.clock.now();
        if let Some((version, record)) = &found
            && record.is_pending()
            && (record.due <= now.saturating_add(SOON) || self.is_too_late(record, now))
        {
            self.remember(id, *version, record);
            if let Some(stored) = record.stored(*version) {
                self.wakeups.know(id, stored);
            }
            return Ok(());
        }
        self.wakeups.remove(id);
        let (version, record) = match found {
            Some((_, record)) if record.is_pending() => {
                return self.deliver_again(&held.delivery, Duration::from_millis(record.due - now)).await;
            }
            Some((version, record)) if record.location != Location::In(List::Dead) => (version, record),
            _ if held.deliveries < LAST_DELIVERY => {
                let doublings = held.deliveries.saturating_sub(1) as u32;
                return self.deliver_again(&held.delivery, FIRST_WAIT * 2_u32.pow(doublings)).await;
            }
            Some(dead) => dead,
            None => {
                let (due, key, bytes) = (now + KEEP_NOWHERE, held.key, Bytes::new());
                (0, Record { location: Location::Nowhere, due, key, bytes })
            }
        };
        // If somebody else was faster, it is looked at again.
        if self.put(id, version, &record).await?.is_some() {
            self.settle(id, &record, Some(held)).await?;
        }
        Ok(())
    }

    pub(crate) async fn due_ended(
        &self,
        list: List,
        times: RangeInclusive<u64>,
        limit: usize,
    ) -> Result<Vec<JobId>, StoreError> {
        let copies = self.ended.due(&self.streams, list, &times, limit).await?;
        let records = join_all(copies.iter().map(|copy| self.record(copy.id))).await;
        let mut due = Vec::new();
        for (copy, found) in copies.iter().zip(records) {
            match found? {
                Some((_, record)) if record.location == Location::In(list) => due.push(copy.id),
                found => {
                    // Nobody else removes what is nowhere, or what was left by somebody who stopped while removing it.
                    if let Some((version, Record { location: Location::Nowhere, key, .. })) = found {
                        self.forget(copy.id, version, key).await?;
                    }
                    self.streams.jetstream.delete(&self.streams.ended(list), copy.sequence).await?;
                }
            }
        }
        Ok(due)
    }
}
