//! What is done to the records of a queue.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use backstop_core::{EventLog, Name};
use backstop_kit::{Jitter, Loaded, Reloadable, StoreError, log_text};
use bytes::Bytes;
use futures_util::future::{join_all, try_join, try_join_all};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    DeferredConfig, Failure, JobId, List, Place, Stored,
    clock::Clock,
    counted::{Counted, Halt, StoreState},
    erased_store::ErasedStore,
    inspect::KIND,
    metrics::Metrics,
    record::{Record, State},
    sealing::Sealing,
    telemetry,
};

/// How long a claim lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// How long a worker leaves a job alone that it can't read.
const LEAVE_ALONE: Duration = Duration::from_secs(30);
/// Between two tries to write what became of a job.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MAX_CRASHES: u32 = 3;
/// How many records are removed together.
const SWEPT_AT_ONCE: usize = 100;

pub(crate) struct Queue {
    pub(crate) settings: Arc<Reloadable<DeferredConfig>>,
    pub(crate) name: Name,
    pub(crate) sealing: Sealing,
    pub(crate) store: Box<dyn ErasedStore>,
    pub(crate) clock: Clock,
    pub(crate) jitter: Jitter,
    /// A job was added by this process.
    pub(crate) added: Notify,
    pub(crate) metrics: Metrics,
    pub(crate) log: OnceLock<EventLog>,
    counted: Mutex<Counted>,
    /// Whether `end_long_waits` was done.
    has_ended_long_waits: AtomicBool,
}

/// A job that this worker has claimed.
pub(crate) struct Claim {
    pub(crate) id: JobId,
    pub(crate) record: Record,
    /// Of the record in the store, unless a write got no answer.
    version: u64,
    /// From then on, another worker may claim it.
    until: Instant,
}

impl Queue {
    pub(crate) fn new(
        settings: Arc<Reloadable<DeferredConfig>>,
        name: Name,
        sealing: Sealing,
        store: Box<dyn ErasedStore>,
    ) -> Self {
        Self {
            metrics: Metrics::new(&name),
            settings,
            name,
            sealing,
            store,
            clock: Clock::new(),
            jitter: Jitter::new(None),
            added: Notify::new(),
            log: OnceLock::new(),
            counted: Mutex::default(),
            has_ended_long_waits: AtomicBool::new(false),
        }
    }

    pub(crate) fn config(&self) -> Loaded<'_, DeferredConfig> {
        self.settings.load()
    }

    /// When a job is accepted now, and when it expires.
    pub(crate) fn times(&self) -> (u64, u64) {
        let now = self.clock.now();
        (now, now.saturating_add(millis(self.config().expires_after)))
    }

    pub(crate) fn place(&self, list: List, after: Duration) -> Place {
        Place { list, due: self.clock.now().saturating_add(millis(after)) }
    }

    /// Whether a record is to be removed. Workers do so from time to time.
    pub(crate) fn is_expired(&self, stored: &Stored) -> bool {
        matches!(stored.place.list, List::Done | List::Dead) && stored.place.due <= self.clock.now()
    }

    pub(crate) fn owner_hash(&self, principal: &str) -> [u8; 32] {
        self.sealing.hash(&["owner", self.name.as_str(), principal].map(str::as_bytes))
    }

    /// Claims a job that is due, and counts the attempt. `None` if it isn't, or if another worker was faster.
    pub(crate) async fn claim(&self, id: JobId, kind: &str, version: u32) -> Result<Option<Claim>, StoreError> {
        let Some(stored) = self.store.get(id).await? else { return Ok(None) };
        // The claim of another worker counts from when it was renewed last.
        if !matches!(stored.place.list, List::Queued | List::Running) || stored.place.due > self.clock.now() {
            return Ok(None);
        }
        let Some(mut record) = Record::decode(stored.bytes.clone()) else {
            if Record::is_newer(&stored.bytes) {
                self.leave_alone(id, stored).await?;
            } else {
                self.bury(id, stored.version, Record::unreadable(kind, stored.bytes), Failure::Malformed).await?;
            }
            return Ok(None);
        };
        if record.expires <= self.clock.now() {
            self.bury(id, stored.version, record, Failure::Expired).await?;
            return Ok(None);
        }
        if record.kind != kind || record.kind_version > version {
            self.leave_alone(id, stored).await?;
            return Ok(None);
        }
        record.crashes = record.crashes.saturating_add(u32::from(record.state == State::Running));
        if record.crashes >= MAX_CRASHES {
            self.bury(id, stored.version, record, Failure::Crashes).await?;
            return Ok(None);
        }
        (record.state, record.token) = (State::Running, random_token()?);
        record.attempts = record.attempts.saturating_add(1);
        let mut claim = Claim { id, record, version: stored.version, until: Instant::now() + LEASE };
        let place = self.place(List::Running, LEASE);
        let is_ours = match self.store.replace(id, stored.version, claim.record.encode(), place).await {
            Ok(Some(version)) => {
                claim.version = version;
                true
            }
            Ok(None) => false,
            // It may be claimed. Nobody else runs it, then.
            Err(_) => self.renew(&mut claim).await,
        };
        Ok(is_ours.then_some(claim))
    }

    /// Leaves a job to other workers, uncounted.
    async fn leave_alone(&self, id: JobId, stored: Stored) -> Result<(), StoreError> {
        telemetry::left_alone(&self.name, id);
        let place = self.place(List::Queued, LEAVE_ALONE);
        self.store.replace(id, stored.version, stored.bytes, place).await.map(drop)
    }

    /// A job that can't be claimed goes to the dead letters.
    async fn bury(&self, id: JobId, version: u64, record: Record, failure: Failure) -> Result<(), StoreError> {
        let record = Record { state: State::Failed(failure), ..record }.encode();
        let place = self.place(List::Dead, self.config().keep_dead);
        if self.store.replace(id, version, record, place).await?.is_some() {
            telemetry::failed_for_good(&self.name, id, failure, None);
            self.buried(failure);
        }
        Ok(())
    }

    /// Extends the claim. Whether it still holds. Ends when it has run out, at the latest.
    pub(crate) async fn renew(&self, claim: &mut Claim) -> bool {
        let (until, extended) = (claim.until, Instant::now() + LEASE);
        let renewed = self.update(claim, |record| (record, self.place(List::Running, LEASE)));
        let is_renewed = timeout_at(until, renewed).await.unwrap_or(false);
        claim.until = extended;
        is_renewed
    }

    /// The job is done.
    pub(crate) async fn complete(&self, claim: &mut Claim) -> bool {
        let is_done = self.update(claim, |record| {
            let done = Record { state: State::Done, payload: Bytes::new(), ..record };
            (done, self.place(List::Done, self.config().keep_done))
        });
        let is_done = is_done.await;
        if is_done {
            let time = Duration::from_millis(self.clock.now().saturating_sub(claim.record.accepted));
            self.metrics.completed(time);
        }
        is_done
    }

    /// The job has failed for good.
    pub(crate) async fn fail(&self, claim: &mut Claim, failure: Failure) -> bool {
        let has_failed = self.update(claim, |record| {
            (Record { state: State::Failed(failure), ..record }, self.place(List::Dead, self.config().keep_dead))
        });
        let has_failed = has_failed.await;
        if has_failed {
            self.buried(failure);
        }
        has_failed
    }

    /// One more dead letter.
    fn buried(&self, failure: Failure) {
        self.metrics.buried(failure);
        self.counted().dead.records += 1;
    }

    /// The job is to be tried again.
    pub(crate) async fn retry(&self, claim: &mut Claim) -> bool {
        let wait = self.wait_after(claim.record.attempts);
        self.update(claim, |record| (Record { state: State::Queued, ..record }, self.place(List::Queued, wait))).await
    }

    /// The job is to be tried again, and this attempt doesn't count.
    pub(crate) async fn give_back(&self, claim: &mut Claim, after: Duration) -> bool {
        self.update(claim, |record| {
            let attempts = record.attempts.saturating_sub(1);
            (Record { state: State::Queued, attempts, ..record }, self.place(List::Queued, after))
        })
        .await
    }

    /// The wait after this many attempts: jittered between half and all of it.
    pub(crate) fn wait_after(&self, attempts: u32) -> Duration {
        let DeferredConfig { first_wait, max_wait, .. } = *self.config();
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = first_wait.saturating_mul(doubled).min(max_wait);
        self.jitter.time(wait / 2..=wait)
    }

    /// Writes what becomes of a claimed job. `false` if the claim was lost: another worker has the job.
    ///
    /// Tries again until the store answers, for as long as a claim lasts. A write whose fate was unknown is found to have happened.
    async fn update(&self, claim: &mut Claim, change: impl Fn(Record) -> (Record, Place)) -> bool {
        let since = Instant::now();
        loop {
            let (record, place) = change(claim.record.clone());
            match self.store.replace(claim.id, claim.version, record.encode(), place).await {
                Ok(Some(version)) => {
                    claim.version = version;
                    return true;
                }
                Ok(None) => {}
                Err(_) => sleep(TRY_AGAIN).await,
            }
            // Another worker has it, or an earlier write of ours has happened.
            let stored = loop {
                if since.elapsed() >= LEASE {
                    return false;
                }
                match self.store.get(claim.id).await {
                    Ok(stored) => break stored,
                    Err(_) => sleep(TRY_AGAIN).await,
                }
            };
            let Some(Stored { bytes, version, .. }) = stored else { return false };
            match Record::decode(bytes) {
                Some(record) if record.token == claim.record.token && record.state == State::Running => {
                    claim.version = version;
                }
                found => return found.is_some_and(|record| record.token == claim.record.token),
            }
        }
    }

    /// Jobs that are due: at most `limit` of each list.
    pub(crate) async fn due(&self, limit: usize) -> Vec<JobId> {
        let now = self.clock.now();
        // First those whose worker has stopped.
        let due = [List::Running, List::Queued].map(|list| self.store.due(list, 0..=now, limit));
        try_join_all(due).await.map_or_else(
            |error| {
                self.counted().store = failed(&error);
                Vec::new()
            },
            |due| due.concat(),
        )
    }

    /// Counts what is in the store.
    pub(crate) async fn count(&self) {
        let totals = [List::Queued, List::Running, List::Dead].map(|list| self.store.totals(list));
        let now = self.clock.now();
        let first = self.store.due(List::Queued, 0..=now, 1);
        match try_join(try_join_all(totals), first).await {
            Ok((totals, first)) => {
                let first = if let Some(id) = first.first() { self.store.get(*id).await } else { Ok(None) };
                let oldest = first.ok().flatten().map(|stored| now.saturating_sub(stored.place.due));
                let mut counted = self.counted();
                if let [queued, running, dead] = totals[..] {
                    (counted.queued, counted.running, counted.dead) = (queued, running, dead);
                }
                counted.oldest = oldest.map(Duration::from_millis);
                counted.store = StoreState::Works;
                self.metrics.show(&counted);
            }
            Err(error) => self.counted().store = failed(&error),
        }
    }

    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no job is taken, if none is.
    pub(crate) fn halt(&self) -> Option<Halt> {
        let DeferredConfig { max_dead, max_dead_bytes, .. } = *self.config();
        self.counted().halt(max_dead, max_dead_bytes)
    }

    /// Whether workers may take jobs. Logs each change.
    pub(crate) fn takes_jobs(&self) -> bool {
        let halt = self.halt();
        let mut counted = self.counted();
        if counted.is_news(halt) {
            let error = if let StoreState::Failed(error) = &counted.store { Some(error.clone()) } else { None };
            drop(counted);
            telemetry::halted(&self.name, halt, error.as_deref());
            if let Some(log) = self.log.get() {
                log.push(self.name.clone(), KIND, vec![("halted", halt.map(Halt::as_str).into())]);
            }
        }
        halt.is_none()
    }

    /// Removes records that are kept no longer.
    pub(crate) async fn sweep(&self) {
        if !self.has_ended_long_waits.load(Relaxed) {
            self.has_ended_long_waits.store(self.end_long_waits().await.is_ok(), Relaxed);
        }
        for list in [List::Done, List::Dead] {
            // A store that fails is seen by `count`.
            while let Ok(ids) = self.store.due(list, 0..=self.clock.now(), SWEPT_AT_ONCE).await {
                let removed = join_all(ids.iter().map(|id| self.remove_expired(*id))).await;
                // What can't be removed is tried again later.
                if ids.len() < SWEPT_AT_ONCE || !removed.contains(&true) {
                    break;
                }
            }
        }
    }

    /// Makes jobs due that would wait for longer than any wait: an earlier process wrote them, and its clock was ahead.
    async fn end_long_waits(&self) -> Result<(), StoreError> {
        let late = self.place(List::Queued, 2 * self.config().max_wait.max(LEAVE_ALONE)).due;
        loop {
            let ids = self.store.due(List::Queued, late..=u64::MAX, SWEPT_AT_ONCE).await?;
            let ended = ids.iter().map(async |id| match self.store.get(*id).await? {
                Some(Stored { bytes, version, place }) if place.list == List::Queued && place.due >= late => {
                    let place = self.place(List::Queued, Duration::ZERO);
                    self.store.replace(*id, version, bytes, place).await.map(|version| version.is_some())
                }
                _ => Ok(false),
            });
            let ended = try_join_all(ended).await?;
            if ids.len() < SWEPT_AT_ONCE || !ended.contains(&true) {
                return Ok(());
            }
        }
    }

    /// Whether a record was removed.
    async fn remove_expired(&self, id: JobId) -> bool {
        let removed = async {
            match self.store.get(id).await? {
                Some(stored) if self.is_expired(&stored) => self.store.remove(id, stored.version).await,
                _ => Ok(false),
            }
        };
        removed.await.unwrap_or_else(|error| {
            telemetry::not_removed(&self.name, id, &log_text(&error.to_string()));
            false
        })
    }
}

fn failed(error: &StoreError) -> StoreState {
    StoreState::Failed(log_text(&error.to_string()))
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn random_token() -> Result<u128, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}
