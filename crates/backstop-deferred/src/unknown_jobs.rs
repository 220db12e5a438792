//! Jobs of a kind or version that this process doesn't know, as during a rolling update.
//!
//! They are left to other workers, and nothing is written. So they stay in front of the jobs that this process knows: it asks for
//! jobs from behind them, and begins at the front again from time to time.

use std::collections::HashMap;

use tokio::time::Instant;

use crate::{JobId, queue::LEAVE_ALONE};

/// How many are remembered. Beyond, a job is put back in the queue, which is a write.
const MOST: usize = 10_000;

#[derive(Default)]
pub(crate) struct UnknownJobs {
    /// When each is due.
    due: HashMap<JobId, u64>,
    /// Of the jobs that are due before, all are unknown.
    from: u64,
    since: Option<Instant>,
}

impl UnknownJobs {
    /// Passes over a job. `false` if there are too many.
    pub(crate) fn add(&mut self, id: JobId, due: u64) -> bool {
        let has_room = self.due.len() < MOST;
        if has_room {
            self.since.get_or_insert_with(Instant::now);
            self.due.insert(id, due);
        }
        has_room
    }

    /// From when on queued jobs are to be asked for, and how many of them are unknown.
    pub(crate) fn position(&mut self) -> (u64, usize) {
        if self.since.is_some_and(|since| since.elapsed() >= LEAVE_ALONE) {
            *self = Self::default();
        }
        (self.from, self.due.len())
    }

    /// Takes the unknown ones out of jobs that were found from [`position`](Self::position) on, in order.
    pub(crate) fn retain_known(&mut self, found: &mut Vec<JobId>) {
        let front = found.iter().map_while(|id| self.due.get(id)).last().copied();
        found.retain(|id| !self.due.contains_key(id));
        if let Some(from) = front {
            self.from = from;
            self.due.retain(|_, due| *due >= from);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> JobId {
        JobId::from_bytes(u128::from(number).to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn few_are_remembered_however_many_there_are() {
        // One of 100 is known, and four jobs are asked for at a time.
        let is_known = |number: u32| number % 100 == 99;
        let (mut unknown, mut known) = (UnknownJobs::default(), Vec::new());
        let mut queue: Vec<u32> = (0..100_000).collect();
        loop {
            let (from, more) = unknown.position();
            assert!(more <= 8, "{more}");
            let mut found: Vec<_> =
                queue.iter().filter(|due| u64::from(**due) >= from).take(4 + more).copied().collect();
            let all = found.len();
            let mut ids: Vec<_> = found.iter().map(|number| id(*number)).collect();
            unknown.retain_known(&mut ids);
            found.retain(|number| ids.contains(&id(*number)));
            if found.is_empty() {
                assert!(all <= 8, "the end of the queue");
                break;
            }
            for number in found {
                if is_known(number) {
                    known.push(number);
                    queue.retain(|other| *other != number);
                } else {
                    assert!(unknown.add(id(number), u64::from(number)));
                }
            }
            if known.len() == 100 {
                break;
            }
        }
        assert!(known.iter().all(|number| is_known(*number)) && known.len() == 100);
        tokio::time::advance(LEAVE_ALONE).await;
        assert_eq!(unknown.position(), (0, 0), "a newer process may have made room for others");
    }

    #[tokio::test(start_paused = true)]
    async fn of_jobs_that_are_due_together_none_is_passed_over_by_mistake() {
        let mut unknown = UnknownJobs::default();
        assert!(unknown.add(id(1), 5) && unknown.add(id(2), 5));
        let mut found = vec![id(1), id(2), id(3)];
        unknown.retain_known(&mut found);
        assert_eq!((found, unknown.position()), (vec![id(3)], (5, 2)));
        for number in 3..=MOST as u32 {
            assert!(unknown.add(id(number), 5));
        }
        assert!(!unknown.add(id(MOST as u32 + 1), 5));
    }
}
