//! The store.
//!
//! **A record that is pending has a wake-up in the stream.** All else follows from that: who creates or requeues a record publishes
//! its wake-up *first*, and who ends one acknowledges its wake-up *last*. Whoever stops in between leaves a wake-up without a
//! pending record, which is delivered again, and settled by whoever gets it:
//!
//! | the record of a wake-up is | then |
//! |---|---|
//! | pending, and due | the job is handed to a worker |
//! | pending, and not due | the wake-up is delivered again when it is |
//! | not there, or dead | it may be on the way: the wake-up is delivered again after 50 ms, and twice as long each time. In the 10th, after 25 s, it is settled |
//! | done | it is settled |
//!
//! To settle one, the record is written once more, with nothing in it if there is none. So a write that comes late fails: it expects
//! an earlier version. Then the wake-up is acknowledged.

use std::{
    collections::HashMap,
    fmt,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_nats::Client;
use backstop_deferred::{Created, JobId, JobStore, List, Place, StoreError, Stored, Totals};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::{
    NatsJobStoreConfig,
    clock::Clock,
    ended::Ended,
    jetstream::Published,
    record::{Key, Location, Record, encode_wakeup},
    streams::Streams,
    wakeups::{Held, Wakeups},
};

/// How much earlier than a record is due its wake-up may be held, in ms.
const SOON: u64 = 1_000;
/// How long after its delivery a wake-up needn't be postponed.
const RECENT: Duration = Duration::from_secs(3);
const FIRST_WAIT: Duration = Duration::from_millis(50);
/// In which delivery a wake-up without a record is settled.
const LAST_DELIVERY: u64 = 10;
/// How long a creation that took too long can't succeed, in ms.
const KEEP_NOWHERE: u64 = 24 * 60 * 60 * 1_000;
/// The longest delay of a delivery. A record that is due later is looked at once more then.
const LONGEST_DELAY: Duration = Duration::from_secs(24 * 60 * 60);
/// Of how many records the last known version is kept.
const MOST_KNOWN: usize = 4_096;

/// Jobs in NATS JetStream, for any number of processes. Clones share everything.
///
/// ```no_run
/// use backstop_nats::{NatsJobStore, async_nats::ConnectOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ConnectOptions::new().retry_on_initial_connect().connect("nats://127.0.0.1").await?;
/// let store = NatsJobStore::builder(client, "emails").replicas(3).build()?;
/// // Give it to `Deferred::builder`.
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct NatsJobStore {
    shared: Arc<Shared>,
}

struct Shared {
    streams: Streams,
    wakeups: Wakeups,
    ended: Ended,
    clock: Clock,
    known: Mutex<HashMap<JobId, Known>>,
}

/// What was known of a record when it was read or written last. A write that relies on it fails if it is old.
#[derive(Clone, Copy)]
struct Known {
    version: u64,
    location: Location,
    key: Option<Key>,
}

impl NatsJobStore {
    /// A store with settings that were checked.
    pub(crate) fn with(client: Client, config: NatsJobStoreConfig) -> Self {
        Self {
            shared: Arc::new(Shared {
                streams: Streams::new(client, config),
                wakeups: Wakeups::new(),
                ended: Ended::default(),
                clock: Clock::new(),
                known: Mutex::default(),
            }),
        }
    }

    /// Makes a call on streams that are as they must be. After a failure they are looked at again.
    async fn call<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.shared.streams.open().await?;
        call.await.inspect_err(|_| self.shared.streams.close())
    }
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, HashMap<JobId, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, id: JobId, version: u64, record: &Record) {
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(id, Known { version, location: record.location, key: record.key });
    }

    /// The record with this id, and its version.
    async fn record(&self, id: JobId) -> Result<Option<(u64, Record)>, StoreError> {
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
    async fn put(&self, id: JobId, version: u64, record: &Record) -> Result<Option<u64>, StoreError> {
        let written = self.streams.jetstream.publish(self.streams.job_subject(id), record.encode(), Some(version));
        let Published::At(version) = written.await? else { return Ok(None) };
        self.remember(id, version, record);
        Ok(Some(version))
    }

    /// Publishes a wake-up, and returns its sequence number. `None` if `max_pending` of them are there.
    async fn wake(&self, id: JobId, key: Option<Key>, max_pending: Option<u64>) -> Result<Option<u64>, StoreError> {
        match max_pending {
            // The server takes 0 for no bound.
            Some(0) => return Ok(None),
            Some(max_pending) => self.streams.bound(max_pending).await?,
            None => {}
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
        Ok(matches!(taken, Published::At(_)))
    }

    async fn create(
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
                        if self.put(owner, 0, &record).await?.is_none() {
                            self.unwake(wakeup).await?;
                        }
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

    async fn get(&self, id: JobId) -> Result<Option<Stored>, StoreError> {
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

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
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

    /// What follows from a write of a record: for its wake-up, and for the list of ended ones.
    async fn settle(&self, id: JobId, record: &Record, held: Option<Held>) -> Result<(), StoreError> {
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
                    self.deliver_again(&held, wait).await?;
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

    async fn deliver_again(&self, held: &Held, after: Duration) -> Result<(), StoreError> {
        let delay = after.min(LONGEST_DELAY).as_nanos();
        let answer = if delay == 0 { "-NAK".to_owned() } else { format!("-NAK {{\"delay\":{delay}}}") };
        self.streams.jetstream.acknowledge(&held.delivery, answer).await
    }

    /// The copy of a record in the stream of the list that it is in, if that has one.
    async fn copy(&self, location: Location, id: JobId) -> Result<Option<(String, u64)>, StoreError> {
        let Location::In(list @ (List::Done | List::Dead)) = location else { return Ok(None) };
        let stream = self.streams.ended(list);
        self.ended.changed(list);
        let copy = self.streams.jetstream.last(&stream, &self.streams.ended_subject(list, id)).await?;
        Ok(copy.map(|copy| (stream, copy.sequence)))
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        let Some(before) = self.known_as(id, version).await? else { return Ok(false) };
        let copy = self.copy(before.location, id).await?;
        let jetstream = &self.streams.jetstream;
        self.known().remove(&id);
        if !jetstream.delete(&self.streams.jobs(), version).await? {
            return Ok(false);
        }
        if let Some(key) = &before.key {
            self.remove_key(key, id).await?;
        }
        // Last: whoever finds a copy without a record removes the key.
        if let Some((stream, sequence)) = copy {
            jetstream.delete(&stream, sequence).await?;
        }
        if let Some(held) = self.wakeups.remove(id) {
            jetstream.acknowledge(&held.delivery, Bytes::from_static(b"+ACK")).await?;
        }
        Ok(true)
    }

    async fn remove_key(&self, key: &Key, id: JobId) -> Result<(), StoreError> {
        if let Some((sequence, owner)) = self.owner(key).await?
            && owner == id
        {
            self.streams.jetstream.delete(&self.streams.jobs(), sequence).await?;
        }
        Ok(())
    }

    async fn pending(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        if list == List::Queued {
            self.wakeups.receive(&self.streams, limit).await?;
            let unknown = self.wakeups.unknown();
            for result in join_all(unknown.into_iter().map(|(id, held)| self.look_at(id, held))).await {
                result?;
            }
            for delivery in self.wakeups.take_garbage() {
                self.streams.jetstream.acknowledge(&delivery, Bytes::from_static(b"+TERM")).await?;
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
            Some((version, record)) => Some((version, Record::decode(record)?)),
            None => None,
        };
        let now = self.clock.now();
        if let Some((version, record)) = &found
            && record.is_pending()
            && record.due <= now.saturating_add(SOON)
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
                return self.deliver_again(&held, Duration::from_millis(record.due - now)).await;
            }
            Some((version, record)) if record.location != Location::In(List::Dead) => (version, record),
            _ if held.deliveries < LAST_DELIVERY => {
                let doublings = held.deliveries.saturating_sub(1) as u32;
                return self.deliver_again(&held, FIRST_WAIT * 2_u32.pow(doublings)).await;
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

    async fn ended(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        let copies = self.ended.due(&self.streams, list, &times, limit).await?;
        let records = join_all(copies.iter().map(|copy| self.record(copy.id))).await;
        let mut due = Vec::new();
        for (copy, found) in copies.iter().zip(records) {
            match found? {
                Some((_, record)) if record.location == Location::In(list) => due.push(copy.id),
                found => {
                    // Nobody else removes what is nowhere, or what was left by somebody who stopped while removing it.
                    match found {
                        Some((version, record)) if record.location == Location::Nowhere => {
                            self.streams.jetstream.delete(&self.streams.jobs(), version).await?;
                        }
                        _ => {}
                    }
                    if let Some(key) = &copy.key
                        && self.record(copy.id).await?.is_none()
                    {
                        self.remove_key(key, copy.id).await?;
                    }
                    self.streams.jetstream.delete(&self.streams.ended(list), copy.sequence).await?;
                }
            }
        }
        Ok(due)
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
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

impl JobStore for NatsJobStore {
    async fn create(
        &self,
        id: JobId,
        key: Option<[u8; 32]>,
        bytes: Bytes,
        place: Place,
        max_pending: u64,
    ) -> Result<Created, StoreError> {
        self.call(self.shared.create(id, key, bytes, place, max_pending)).await
    }

    async fn get(&self, id: JobId) -> Result<Option<Stored>, StoreError> {
        self.call(self.shared.get(id)).await
    }

    async fn replace(&self, id: JobId, version: u64, bytes: Bytes, place: Place) -> Result<Option<u64>, StoreError> {
        self.call(self.shared.replace(id, version, bytes, place)).await
    }

    async fn remove(&self, id: JobId, version: u64) -> Result<bool, StoreError> {
        self.call(self.shared.remove(id, version)).await
    }

    async fn due(&self, list: List, times: RangeInclusive<u64>, limit: usize) -> Result<Vec<JobId>, StoreError> {
        match list {
            List::Queued | List::Running => self.call(self.shared.pending(list, times, limit)).await,
            List::Done | List::Dead => self.call(self.shared.ended(list, times, limit)).await,
        }
    }

    async fn totals(&self, list: List) -> Result<Totals, StoreError> {
        self.call(self.shared.totals(list)).await
    }
}

impl fmt::Debug for NatsJobStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsJobStore").field("config", self.shared.streams.config()).finish_non_exhaustive()
    }
}
