//! What workers do to a queue beside running its jobs: they find, count and remove records.

use std::{
    sync::{MutexGuard, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use backstop_kit::{StoreError, log_text};
use futures_util::future::{join_all, try_join, try_join_all};

use crate::{
    DeferredConfig, JobId, List, Stored,
    counted::{Counted, Halt, StoreState},
    inspect::KIND,
    queue::{LEAVE_ALONE, Queue},
    telemetry,
};

/// How many records are removed together.
const SWEPT_AT_ONCE: usize = 100;

impl Queue {
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
                let oldest = oldest.map(Duration::from_millis);
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
