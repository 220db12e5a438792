//! What workers do to a queue beside running its jobs: they find, count and remove records.

use std::{
    sync::{MutexGuard, PoisonError},
    time::Duration,
};

use backstop_kit::{StoreError, log_text};
use futures_util::future::{join_all, try_join, try_join_all, try_join3};
use tokio::time::Instant;

use crate::{
    DeferredConfig, JobId,
    counted::{Counted, Halt, StoreState},
    inspect::KIND,
    queue::Queue,
    store::List,
    telemetry,
};

/// How many records are removed together.
const SWEPT_AT_ONCE: usize = 100;
/// The lists of jobs that aren't done.
const PENDING: [List; 2] = [List::Running, List::Queued];
/// Between two looks for jobs that are due too late.
const BETWEEN_LATE: Duration = Duration::from_secs(60);
/// How long it holds how many done jobs are kept. Longer than between two counts of a worker.
const COUNT_DONE_AGAIN: Duration = Duration::from_secs(2);
/// How many dead letters are shown to operators.
const SHOWN_LETTERS: usize = 20;
/// How long workers may show no sign of life. They do so each second.
const NO_WORKER_AFTER: Duration = Duration::from_secs(5);

impl Queue {
    /// Jobs that are due: at most `limit` of each list.
    pub(crate) async fn due(&self, limit: usize) -> Vec<JobId> {
        let now = self.clock.now();
        let (from, more) = self.unknown_jobs().position();
        let limit = limit + more;
        // First those whose worker has stopped.
        let running = self.store.due(List::Running, 0..=now, limit);
        let queued = self.store.due(List::Queued, from.min(now)..=now, limit);
        match try_join3(self.due_too_late(limit), running, queued).await {
            Ok((mut due, running, mut queued)) => {
                self.unknown_jobs().retain_known(&mut queued);
                due.extend(running);
                due.extend(queued);
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
        let totals = [List::Queued, List::Running, List::Dead, List::Done].map(|list| self.store.totals(list));
        let now = self.clock.now();
        match try_join(try_join_all(totals), self.store.oldest()).await {
            Ok((totals, oldest)) => {
                let oldest = oldest.filter(|due| *due <= now).map(|due| Duration::from_millis(now - due));
                self.metrics.show(&totals, oldest);
                if self.counted().update(&totals, oldest, now) {
                    self.read_letters().await;
                }
            }
            Err(error) => self.counted().store = failed(&error),
        }
    }

    /// Reads the dead letters that operators are shown.
    async fn read_letters(&self) {
        // A store that fails is seen by `count`.
        if let Ok(letters) = self.dead_letters(None, SHOWN_LETTERS).await {
            let mut counted = self.counted();
            (counted.letters, counted.letters_read) = (letters, Some((Instant::now(), counted.dead.records)));
        }
    }

    /// Whether so many done jobs are kept that none may be accepted. Counts them if no worker of this process has lately.
    pub(crate) async fn keeps_too_many_done(&self) -> bool {
        if self.is_time_to_count_done()
            && let Ok(done) = self.store.totals(List::Done).await
        {
            self.counted().done = done;
        }
        let keeps_too_many = self.counted().done.records >= self.config().max_done;
        if keeps_too_many {
            telemetry::too_many_done(self);
        }
        keeps_too_many
    }

    fn is_time_to_count_done(&self) -> bool {
        let mut counted = self.counted();
        let is_time = counted.done_counted.is_none_or(|counted| counted.elapsed() >= COUNT_DONE_AGAIN);
        if is_time {
            counted.done_counted = Some(Instant::now());
        }
        is_time
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
        let DeferredConfig { max_dead_letters, max_dead_letter_bytes, .. } = *self.config();
        self.counted().halt(max_dead_letters, max_dead_letter_bytes)
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
