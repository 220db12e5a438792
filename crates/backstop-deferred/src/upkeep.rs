//! What workers do to a queue beside running its jobs: they find, count and remove records.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use backstop_kit::{StoreError, log_text};
use futures_util::future::{join_all, try_join, try_join_all};
use tokio::time::Instant;

use crate::{
    DeferredConfig, JobId, List,
    counted::{Counted, Halt, StoreState},
    inspect::KIND,
    queue::Queue,
    telemetry,
};

/// How many records are removed together.
const SWEPT_AT_ONCE: usize = 100;
/// The lists of jobs that aren't done.
const PENDING: [List; 2] = [List::Running, List::Queued];
/// Between two looks for jobs that are due too late.
const BETWEEN_LATE: Duration = Duration::from_secs(60);
/// How long workers may show no sign of life. They do so each second.
const NO_WORKER_AFTER: Duration = Duration::from_secs(5);

impl Queue {
    /// Jobs that are due: at most `limit` of each list.
    pub(crate) async fn due(&self, limit: usize) -> Vec<JobId> {
        let now = self.clock.now();
        // First those whose worker has stopped.
        let due = PENDING.map(|list| self.store.due(list, 0..=now, limit));
        match try_join(self.due_too_late(limit), try_join_all(due)).await {
            Ok((mut due, in_time)) => {
                due.extend(in_time.concat());
                due
            }
            Err(error) => {
                self.counted().store = failed(&error);
                Vec::new()
            }
        }
    }

    /// Jobs that are due too late. Asks at first, then once a minute, and at once again if there may be more.
    async fn due_too_late(&self, limit: usize) -> Result<Vec<JobId>, StoreError> {
        if !self.is_time_for_late() {
            return Ok(Vec::new());
        }
        // A process that was suspended is behind: it would take over claims that hold.
        self.clock.read_again();
        let due = PENDING.map(|list| self.store.due(list, self.too_late(list)..=u64::MAX, limit));
        let due = try_join_all(due).await;
        if due.as_ref().map_or(true, |due| due.iter().any(|due| due.len() >= limit)) {
            *self.asked_for_late() = None;
        }
        Ok(due?.concat())
    }

    fn asked_for_late(&self) -> MutexGuard<'_, Option<Instant>> {
        self.asked_for_late.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_time_for_late(&self) -> bool {
        let mut asked = self.asked_for_late();
        let is_time = asked.is_none_or(|asked| asked.elapsed() >= BETWEEN_LATE);
        if is_time {
            *asked = Some(Instant::now());
        }
        is_time
    }

    /// Counts what is in the store.
    pub(crate) async fn count(&self) {
        let totals = [List::Queued, List::Running, List::Dead].map(|list| self.store.totals(list));
        let now = self.clock.now();
        match try_join(try_join_all(totals), self.store.oldest()).await {
            Ok((totals, oldest)) => {
                let oldest = oldest.filter(|due| *due <= now).map(|due| Duration::from_millis(now - due));
                let mut counted = self.counted();
                if let [queued, running, dead] = totals[..] {
                    (counted.queued, counted.running, counted.dead) = (queued, running, dead);
                }
                (counted.oldest, counted.store) = (oldest, StoreState::Works);
                drop(counted);
                self.metrics.show(&totals, oldest);
            }
            Err(error) => self.counted().store = failed(&error),
        }
    }

    pub(crate) fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no job is taken, if none is.
    pub(crate) fn halt(&self) -> Option<Halt> {
        let is_worked = self.counted().worked.is_none_or(|worked| worked.elapsed() < NO_WORKER_AFTER);
        if is_worked { self.halt_of_worker() } else { Some(Halt::NoWorker) }
    }

    /// Why a worker takes no job.
    fn halt_of_worker(&self) -> Option<Halt> {
        let DeferredConfig { max_dead, max_dead_bytes, .. } = *self.config();
        self.counted().halt(max_dead, max_dead_bytes)
    }

    /// A worker runs.
    pub(crate) fn works(&self) {
        self.counted().worked = Some(Instant::now());
    }

    /// Whether workers may take jobs. Logs each change.
    pub(crate) fn takes_jobs(&self) -> bool {
        let halt = self.halt_of_worker();
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
