//! What is done to the records of a queue.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use backstop_core::{EventLog, Name};
use backstop_kit::{Jitter, Loaded, Reloadable, StoreError, WallClock};
use bytes::Bytes;
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout_at},
};

use crate::{
    DeferredConfig, Failure, JobId,
    counted::Counted,
    erased_store::ErasedStore,
    metrics::Metrics,
    record::{Record, State},
    sealing::Sealing,
    store::{List, Place, StoredRecord},
    telemetry,
    unknown_jobs::UnknownJobs,
    warnings::Warnings,
};

/// How long a claim lasts unless it is renewed.
pub(crate) const LEASE: Duration = Duration::from_secs(30);
/// A claim that would last for longer isn't respected. Much longer than any, for the clock that is wrong may be the reader's.
const LATE_CLAIM: Duration = Duration::from_secs(10 * 60);
/// How long a worker leaves a job alone that it can't read.
pub(crate) const LEAVE_ALONE: Duration = Duration::from_secs(30);
/// Between two tries to write what became of a job.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const MAX_CRASHES: u32 = 3;

pub(crate) struct Queue {
    pub(crate) settings: Arc<Reloadable<DeferredConfig>>,
    pub(crate) name: Name,
    pub(crate) sealing: Sealing,
    pub(crate) store: Box<dyn ErasedStore>,
    pub(crate) clock: WallClock,
    pub(crate) jitter: Jitter,
    /// A job was added by this process.
    pub(crate) added: Notify,
    pub(crate) metrics: Metrics,
    pub(crate) log: OnceLock<EventLog>,
    pub(crate) dead_letter_warnings: Warnings,
    pub(crate) lost_claim_warnings: Warnings,
    pub(crate) too_many_done_warnings: Warnings,
    pub(crate) counted: Mutex<Counted>,
    unknown_jobs: Mutex<UnknownJobs>,
    /// When jobs that are due too late were last asked for.
    pub(crate) asked_for_late: Mutex<Option<Instant>>,
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
            clock: WallClock::default(),
            jitter: Jitter::new(None),
            added: Notify::new(),
            log: OnceLock::new(),
            dead_letter_warnings: Warnings::default(),
            lost_claim_warnings: Warnings::default(),
            too_many_done_warnings: Warnings::default(),
            unknown_jobs: Mutex::default(),
            counted: Mutex::default(),
            asked_for_late: Mutex::default(),
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
    pub(crate) fn is_expired(&self, stored: &StoredRecord) -> bool {
        matches!(stored.place.list, List::Done | List::Dead) && stored.place.due <= self.clock.now()
    }

    /// Whether a worker may claim a record in this place.
    fn is_due(&self, Place { list, due }: Place) -> bool {
        let is_pending = matches!(list, List::Queued | List::Running);
        is_pending && (due <= self.clock.now() || due >= self.too_late(list))
    }

    /// Records of a list that are due at this time or later were written by a process whose clock was ahead: they are due later than any
    /// wait or claim allows.
    pub(crate) fn too_late(&self, list: List) -> u64 {
        let after = if list == List::Running { LATE_CLAIM } else { 2 * self.config().max_wait.max(LEAVE_ALONE) };
        self.place(list, after).due
    }

    pub(crate) fn owner_hash(&self, principal: &str) -> [u8; 32] {
        self.sealing.hash(&["owner", self.name.as_str(), principal].map(str::as_bytes))
    }

    /// Claims a job that is due, and counts the attempt. `None` if it isn't, or if another worker was faster.
    pub(crate) async fn claim(&self, id: JobId, kind: &Name, version: u32) -> Result<Option<Claim>, StoreError> {
        let Some(stored) = self.store.get(id).await? else { return Ok(None) };
        // The claim of another worker counts from when it was renewed last.
        if !self.is_due(stored.place) {
            return Ok(None);
        }
        let Some(mut record) = Record::decode(stored.bytes.clone()) else {
            if Record::is_newer(&stored.bytes) {
                self.leave_alone(id, stored).await?;
            } else {
                self.bury(id, stored.version, Record::unreadable(kind.as_str(), stored.bytes), Failure::Malformed)
                    .await?;
            }
            return Ok(None);
        };
        if record.expires <= self.clock.now() {
            self.bury(id, stored.version, record, Failure::Expired).await?;
            return Ok(None);
        }
        if record.kind != kind.as_str() || record.kind_version > version {
            self.leave_alone(id, stored).await?;
            return Ok(None);
        }
        // The claim of an earlier attempt has run out.
        let was_running = record.state == State::Running;
        let is_excused = was_running && self.counted().was_away(stored.place.due);
        record.crashes = record.crashes.saturating_add(u32::from(was_running && !is_excused));
        if record.crashes >= MAX_CRASHES {
            self.bury(id, stored.version, record, Failure::Crashes).await?;
            return Ok(None);
        }
        (record.state, record.token) = (State::Running, random_token()?);
        record.attempts = record.attempts.saturating_add(u32::from(!is_excused)).max(1);
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
    async fn leave_alone(&self, id: JobId, stored: StoredRecord) -> Result<(), StoreError> {
        telemetry::left_alone(&self.name, id);
        let is_queued = stored.place.list == List::Queued;
        if self.store.hide(id, LEAVE_ALONE).await? || is_queued && self.unknown_jobs().add(id, stored.place.due) {
            return Ok(());
        }
        // Only queued jobs are passed over. The bytes of one whose worker is gone still say so: the next claim counts the crash.
        let place = if is_queued {
            self.place(List::Queued, LEAVE_ALONE)
        } else {
            Place { list: List::Queued, ..stored.place }
        };
        self.store.replace(id, stored.version, stored.bytes, place).await.map(drop)
    }

    pub(crate) fn unknown_jobs(&self) -> MutexGuard<'_, UnknownJobs> {
        self.unknown_jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that can't be claimed goes to the dead letters.
    async fn bury(&self, id: JobId, version: u64, record: Record, failure: Failure) -> Result<(), StoreError> {
        // Without the token of whoever has claimed it before: nothing that happened later is what that worker has written.
        let record = Record { state: State::Failed(failure), token: 0, ..record }.encode();
        let place = self.place(List::Dead, self.config().keep_dead_letters);
        if self.store.replace(id, version, record, place).await?.is_some() {
            telemetry::failed_for_good(self, id, failure, None);
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
            (
                Record { state: State::Failed(failure), ..record },
                self.place(List::Dead, self.config().keep_dead_letters),
            )
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
    fn wait_after(&self, attempts: u32) -> Duration {
        let DeferredConfig { first_wait, max_wait, .. } = *self.config();
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let wait = first_wait.saturating_mul(doubled).min(max_wait);
        self.jitter.time(wait / 2..=wait)
    }

    /// The wait after an attempt that doesn't count: as long as the job has waited since it was accepted, so that it doubles, too.
    pub(crate) fn wait_after_refusal(&self, claim: &Claim) -> Duration {
        let DeferredConfig { first_wait, max_wait, .. } = *self.config();
        let waited = Duration::from_millis(self.clock.now().saturating_sub(claim.record.accepted));
        let wait = waited.clamp(first_wait, max_wait);
        self.jitter.time(wait / 2..=wait)
    }

    /// Writes what becomes of a claimed job. `false` if the claim was lost: another worker has the job.
    ///
    /// Tries again until the store answers: also when the claim has run out, because as long as its token is in the record, nobody else
    /// has claimed the job. A write whose fate was unknown is found to have happened.
    async fn update(&self, claim: &mut Claim, change: impl Fn(Record) -> (Record, Place)) -> bool {
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
                match self.store.get(claim.id).await {
                    Ok(stored) => break stored,
                    Err(_) => sleep(TRY_AGAIN).await,
                }
            };
            let Some(StoredRecord { bytes, version, .. }) = stored else { return false };
            match Record::decode(bytes) {
                Some(record) if record.token == claim.record.token && record.state == State::Running => {
                    claim.version = version;
                }
                found => return found.is_some_and(|record| record.token == claim.record.token),
            }
        }
    }
}

pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn random_token() -> Result<u128, StoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(u128::from_ne_bytes(bytes))
}
