//! The records of a queue, and what is done to them.
//!
//! **A record that is pending has a wake-up in the stream.** All else follows from that: who creates or requeues a record publishes
//! its wake-up *first*, and who ends one acknowledges its wake-up *last*. Whoever stops in between leaves a wake-up without a
//! pending record, which is settled by whoever gets it: see [`settle`](crate::settle).

use std::{
    collections::HashMap,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use async_nats::Client;
use backstop_deferred::{
    JobId, StoreError,
    store::{Created, List, Place, StoredRecord, Totals},
};
use backstop_kit::WallClock;
use bytes::Bytes;

use crate::{
    NatsJobStoreConfig,
    ended::Ended,
    jetstream::Published,
    record::{Key, Location, Record, encode_wakeup},
    settle::SOON,
    streams::Streams,
    wakeups::Wakeups,
};

/// Of how many records the last known version is kept.
const MOST_KNOWN: usize = 4_096;

pub(crate) struct Queue {
    pub(crate) streams: Streams,
    pub(crate) wakeups: Wakeups,
    pub(crate) ended: Ended,
    pub(crate) clock: WallClock,
    known: Mutex<HashMap<JobId, Known>>,
    /// From how long after now on, in ms, a worker has asked for jobs that are queued or running: they are due too late.
    too_late: [AtomicU64; 2],
}

/// What was known of a record when it was read or written last. A write that relies on it fails if it is old.
#[derive(Clone, Copy)]
struct Known {
    version: u64,
    location: Location,
    key: Option<Key>,
}

impl Queue {
    pub(crate) fn new(client: Client, config: NatsJobStoreConfig) -> Self {
        Self {
            streams: Streams::new(client, config),
            wakeups: Wakeups::new(),
            ended: Ended::default(),
            clock: WallClock::default(),
            known: Mutex::default(),
            too_late: [const { AtomicU64::new(u64::MAX) }; 2],
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<JobId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker asks for pending jobs that are due from then on. If that is long after now, wake-ups of such jobs are held for it.
    pub(crate) fn ask_from(&self, list: List, from: u64) {
        let after = from.saturating_sub(self.clock.now());
        if after > SOON
            && let Some(too_late) = self.too_late.get(list as usize)
        {
            too_late.store(after, Relaxed);
        }
    }

    /// Whether a pending record is due so late that a process whose clock was ahead must have written it.
    pub(crate) fn is_too_late(&self, record: &Record, now: u64) -> bool {
        let Location::In(list) = record.location else { return false };
        let too_late = self.too_late.get(list as usize);
        too_late.is_some_and(|after| record.due.saturating_sub(now) >= after.load(Relaxed))
    }

    pub(crate) fn remember(&self, id: JobId, version: u64, record: &Record) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(id, Known { version, location: record.location, key: record.key });
    }

    /// The record with this id, and its version.
    pub(crate) async fn record(&self, id: JobId) -> Result<Option<(u64, Record)>, StoreError> {
        let streams = &self.streams;
        let Some(message) = streams.jetstream.last(&streams.jobs(), &streams.job_subject(id)).await? else {
            return Ok(None);
        };
        let record = Record::decode(message.payload)?;
        self.remember(id, message.sequence, &record);
        Ok(Some((message.sequence, record)))
    }

    /// What the record is, if it still has this version.
    async fn known_as(&self, id: JobId, version: u64) -> Result<Option<Known>, StoreError> {
        let known = self.known().get(&id).copied().filter(|known| known.version == version);
        if known.is_some() {
            return Ok(known);
        }
        let record = self.record(id).await?.filter(|(its_version, _)| *its_version == version);
        Ok(record.map(|(version, Record { location, key, .. })| Known { version, location, key }))
    }

    /// Writes a record if it has this version: 0 if there is none. Its new version, or `None` if it had another one.
    pub(crate) async fn put(&self, id: JobId, version: u64, record: &Record) -> Result<Option<u64>, StoreError> {
        let written = self.streams.jetstream.publish(self.streams.job_subject(id), record.encode(), Some(version));
        let Some(version) = written.await?.if_expected()? else { return Ok(None) };
        self.remember(id, version, record);
        Ok(Some(version))
    }

    /// Publishes a wake-up, and returns its sequence number. `None` if `max_pending` of them are there, or more.
    async fn wake(&self, id: JobId, key: Option<Key>, max_pending: Option<u64>) -> Result<Option<u64>, StoreError> {
        match max_pending {
            // The server takes 0 for no bound.
            Some(0) => return Ok(None),
            Some(max_pending) if !self.streams.bound(max_pending).await? => return Ok(None),
            _ => {}
        }
        let wakeup = encode_wakeup(id, key);
        match self.streams.jetstream.publish(self.streams.wakeup_subject(), wakeup, None).await? {
            Published::At(sequence) => Ok(Some(sequence)),
            Published::Full => Ok(None),
            Published::WrongSequence => Err("a wake-up was refused".into()),
        }
    }

    /// Takes back a wake-up of ours that wakes up nobody.
    async fn unwake(&self, sequence: u64) -> Result<(), StoreError> {
        self.streams.jetstream.delete(&self.streams.wakeups(), sequence).await.map(drop)
    }

    /// The record that a key belongs to, and the sequence number of that entry.
    async fn owner(&self, key: &Key) -> Result<Option<(u64, JobId)>, StoreError> {
        let streams = &self.streams;
        let Some(message) = streams.jetstream.last(&streams.jobs(), &streams.key_subject(key)).await? else {
            return Ok(None);
        };
        let id = message.payload[..].try_into().map_err(|_| "a key that this version can't read")?;
        Ok(Some((message.sequence, JobId::from_bytes(id))))
    }

    /// Gives a key to a record, if the key's entry has this sequence number: 0 if there is none. Whether it had.
    async fn take_key(&self, key: &Key, id: JobId, sequence: u64) -> Result<bool, StoreError> {
        let entry = Bytes::copy_from_slice(&id.to_bytes());
        let taken = self.streams.jetstream.publish(self.streams.key_subject(key), entry, Some(sequence)).await?;
        Ok(taken.if_expected()?.is_some())
    }

    pub(crate) async fn create(
        &self,
        id: JobId,
        key: Option<Key>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        let record = Record::new(place, key, bytes);
        loop {
            let mut entry = 0;
            if let Some(key) = &key
                && let Some((sequence, owner)) = self.owner(key).await?
            {
                match self.record(owner).await? {
                    Some((_, found)) if found.location != Location::Nowhere => return Ok(Created::Exists(owner)),
                    Some(_) => entry = sequence,
                    None => {
                        // Whoever took the key is about to create the record, or has stopped. It doesn't matter who does it.
                        let Some(wakeup) = self.wake(owner, Some(*key), Some(max_pending)).await? else {
                            return Ok(Created::Full);
                        };
                        // The record may also have been removed, but before it its key.
                        if self.take_key(key, owner, sequence).await? && self.put(owner, 0, &record).await?.is_some() {
                            return Ok(Created::Exists(owner));
                        }
                        self.unwake(wakeup).await?;
                        continue;
                    }
                }
            }
            let Some(wakeup) = self.wake(id, key, Some(max_pending)).await? else { return Ok(Created::Full) };
            if let Some(key) = &key
                && !self.take_key(key, id, entry).await?
            {
                self.unwake(wakeup).await?;
                continue;
            }
            if self.put(id, 0, &record).await?.is_some() {
                return Ok(Created::New);
            }
            self.unwake(wakeup).await?;
            return match self.record(id).await? {
                Some((_, found)) if found.bytes == record.bytes && found.location == record.location => {
                    Ok(Created::New)
                }
                Some((_, found)) if found.location != Location::Nowhere => Ok(Created::Exists(id)),
                _ => Err("creating the record took too long".into()),
            };
        }
    }

    pub(crate) async fn get(&self, id: JobId) -> Result<Option<StoredRecord>, StoreError> {
        if let Some(stored) = self.wakeups.take_record(id) {
            return Ok(Some(stored));
        }
        let found = self.record(id).await?;
        match &found {
            Some((_, record @ Record { location: Location::In(list), .. })) if record.is_pending() => {
                self.wakeups.set_place(id, *list, record.due);
            }
            // Its wake-up is delivered again, and settled.
            _ => drop(self.wakeups.remove(id)),
        }
        Ok(found.and_then(|(version, record)| record.stored(version)))
    }

    pub(crate) async fn replace(
        &self,
        id: JobId,
        version: u64,
        bytes: Bytes,
        place: Place,
    ) -> Result<Option<u64>, StoreError> {
        let Some(before) = self.known_as(id, version).await? else { return Ok(None) };
        let record = Record::new(place, before.key, bytes);
        let was_pending = matches!(before.location, Location::In(List::Queued | List::Running));
        // From here on, a wake-up that isn't acknowledged is delivered again.
        let held = if place.list == List::Running { self.wakeups.get(id) } else { self.wakeups.remove(id) };
        let wakeup = if record.is_pending() && !was_pending {
            Some(self.wake(id, before.key, None).await?.ok_or("the queue is full")?)
        } else {
            None
        };
        let copy = self.copy(before.location, id).await?;
        self.known().remove(&id);
        let Some(version) = self.put(id, version, &record).await? else {
            if let Some(wakeup) = wakeup {
                self.unwake(wakeup).await?;
            }
            return Ok(None);
        };
        // The record has been replaced. If the rest fails, its wake-up is delivered again.
        if self.settle(id, &record, held).await.is_ok()
            && let Some((stream, sequence)) = copy
        {
            _ = self.streams.jetstream.delete(&stream, sequence).await;
        }
        Ok(Some(version))
    }

    /// The copy of a record in the stream of the list that it is in, if that has one.
    async fn copy(&self, location: Location, id: JobId) -> Result<Option<(String, u64)>, StoreError> {
        let Location::In(list @ (List::Done | List::Dead)) = location else { return Ok(None) };
        let stream = self.streams.ended(list);
        self.ended.changed(list);
        let copy = self.streams.jetstream.last(&stream, &self.streams.ended_subject(list, id)).await?;
        Ok(copy.map(|copy| (stream, copy.sequence)))
    }

    pub(crate) async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let Some(before) = self.known_as(id, version).await? else { return Ok(false) };
        let copy = self.copy(before.location, id).await?;
        let jetstream = &self.streams.jetstream;
        self.known().remove(&id);
        // From here on, its key can be taken by another record.
        let nowhere = Record { location: Location::Nowhere, due: 0, key: before.key, bytes: Bytes::new() };
        let Some(version) = self.put(id, version, &nowhere).await? else { return Ok(false) };
        self.forget(id, version, before.key).await?;
        // Last: whoever finds a copy of what is nowhere goes on here.
        if let Some((stream, sequence)) = copy {
            jetstream.delete(&stream, sequence).await?;
        }
        if let Some(held) = self.wakeups.remove(id) {
            jetstream.acknowledge(&held.delivery, Bytes::from_static(b"+ACK")).await?;
        }
        Ok(true)
    }

    /// Removes a record that is nowhere, and before it its key: as long as the record is there, nobody creates it anew.
    pub(crate) async fn forget(&self, id: JobId, version: u64, key: Option<Key>) -> Result<(), StoreError> {
        let (jetstream, jobs) = (&self.streams.jetstream, self.streams.jobs());
        if let Some(key) = key
            && let Some((sequence, owner)) = self.owner(&key).await?
            && owner == id
        {
            jetstream.delete(&jobs, sequence).await?;
        }
        self.known().remove(&id);
        jetstream.delete(&jobs, version).await.map(drop)
    }

    pub(crate) async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        match list {
            List::Done | List::Dead => self.ended.totals(&self.streams, list).await,
            List::Queued => {
                let (records, bytes) = self.streams.totals(&self.streams.wakeups()).await?;
                Ok(Totals { records: records.saturating_sub(self.wakeups.running()), bytes })
            }
            List::Running => Ok(Totals { records: self.wakeups.running(), bytes: 0 }),
        }
    }
}
