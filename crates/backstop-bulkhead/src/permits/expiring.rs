//! The permits of response bodies, which expire.

use std::{collections::VecDeque, mem, time::Duration};

use tokio::time::Instant;

use super::Ticket;

/// One queue for each `max_hold` that a permit started with: only one, unless `max_hold` was reloaded.
#[derive(Debug, Default)]
pub(super) struct ExpiringPermits {
    current: Queue,
    /// With an earlier `max_hold`, the oldest first.
    earlier: Vec<Queue>,
}

impl ExpiringPermits {
    pub(super) fn push(&mut self, ticket: Ticket, until: Instant, max_hold: Duration) {
        if self.current.max_hold != max_hold {
            self.start_queue(max_hold);
        }
        self.current.push(ticket, until);
    }

    #[cold]
    fn start_queue(&mut self, max_hold: Duration) {
        self.earlier.push(mem::take(&mut self.current));
        self.earlier.retain(|queue| queue.first().is_some());
        self.current.max_hold = max_hold;
    }

    /// When the next permit expires.
    pub(super) fn first(&self) -> Option<Instant> {
        let current = self.current.first();
        if self.earlier.is_empty() {
            return current;
        }
        self.earlier.iter().map(Queue::first).chain([current]).flatten().min()
    }

    /// Removes a permit that has expired at `now`, and returns its `max_hold`.
    pub(super) fn pop_expired(&mut self, now: Instant) -> Option<Duration> {
        let mut queues = self.earlier.iter_mut().chain([&mut self.current]);
        queues.find_map(|queue| queue.pop_expired(now).then_some(queue.max_hold))
    }

    /// Removes a permit. `false` if it was already removed.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
        self.current.remove(ticket) || self.earlier.iter_mut().rev().any(|queue| queue.remove(ticket))
    }
}

/// Sorted by expiry, which is the order of their start, because all last equally long.
///
/// The permit to remove is nearly always among the newest or the oldest, so a tree would cost more.
#[derive(Debug, Default)]
struct Queue {
    max_hold: Duration,
    /// In ascending order of tickets. A permit that is removed from the middle leaves a gap.
    queue: VecDeque<(Ticket, Option<Instant>)>,
    /// The number of gaps: at most half of all entries. The first entry is never a gap.
    gaps: usize,
}

impl Queue {
    fn push(&mut self, ticket: Ticket, until: Instant) {
        self.queue.push_back((ticket, Some(until)));
    }

    /// When the next permit expires.
    fn first(&self) -> Option<Instant> {
        self.queue.front().and_then(|(_, until)| *until)
    }

    /// Removes the next permit if it has expired at `now`.
    fn pop_expired(&mut self, now: Instant) -> bool {
        let has_expired = self.first().is_some_and(|until| until <= now);
        if has_expired {
            self.queue.pop_front();
            self.close_gaps();
        }
        has_expired
    }

    /// Removes a permit. `false` if it was already removed.
    fn remove(&mut self, ticket: Ticket) -> bool {
        // Mostly the oldest, which needs no search and leaves no gap.
        if self.queue.front().is_some_and(|(oldest, _)| *oldest == ticket) {
            self.queue.pop_front();
            self.close_gaps();
            return true;
        }
        let at = self.queue.binary_search_by_key(&ticket, |(ticket, _)| *ticket);
        let Some((_, until)) = at.ok().and_then(|at| self.queue.get_mut(at)) else {
            return false;
        };
        let was_there = until.take().is_some();
        if was_there {
            self.gaps += 1;
            self.close_gaps();
        }
        was_there
    }

    fn close_gaps(&mut self) {
        while let Some((_, None)) = self.queue.front() {
            self.queue.pop_front();
            self.gaps -= 1;
        }
        // Rare enough for a constant cost per permit on average.
        if self.gaps > self.queue.len() / 2 {
            self.queue.retain(|(_, until)| until.is_some());
            self.gaps = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        End(Index),
        Expire(Index),
        /// `max_hold` is reloaded.
        Reload(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            12 => Just(Step::Begin),
            8 => any::<Index>().prop_map(Step::End),
            4 => any::<Index>().prop_map(Step::Expire),
            1 => (1..100_u64).prop_map(Step::Reload),
        ];
        vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn they_are_what_a_sorted_map_is_and_at_most_half_of_them_are_gaps(steps in steps()) {
            let start = Instant::now();
            let (mut bodies, mut model, mut last) = (ExpiringPermits::default(), BTreeMap::new(), 0);
            let (mut max_hold, mut reloads, mut most) = (Duration::from_secs(50), 0, 0);
            for step in steps {
                match step {
                    Step::Begin => {
                        last += 1;
                        let until = start + Duration::from_secs(last) + max_hold;
                        bodies.push(last, until, max_hold);
                        model.insert(last, (until, max_hold));
                    }
                    // Of all that ever began.
                    Step::End(index) => {
                        let ticket = index.index(last as usize + 1) as Ticket;
                        prop_assert_eq!(bodies.remove(ticket), model.remove(&ticket).is_some());
                    }
                    // Up to one of those that are there.
                    Step::Expire(index) => {
                        let now = model.values().nth(index.index(model.len().max(4)) / 4).map_or(start, |(until, _)| *until);
                        let mut expired: Vec<_> = std::iter::from_fn(|| bodies.pop_expired(now)).collect();
                        let mut should = Vec::new();
                        model.retain(|_, (until, max_hold)| {
                            let stays = *until > now;
                            should.extend((!stays).then_some(*max_hold));
                            stays
                        });
                        expired.sort();
                        should.sort();
                        prop_assert_eq!(expired, should);
                    }
                    Step::Reload(secs) => {
                        max_hold = Duration::from_secs(secs);
                        reloads += 1;
                    }
                }
                prop_assert_eq!(bodies.first(), model.values().map(|(until, _)| *until).min());
                let (entries, gaps) = bodies.earlier.iter().chain([&bodies.current]).fold((0, 0), |(entries, gaps), queue| (entries + queue.queue.len(), gaps + queue.gaps));
                prop_assert!(entries <= 2 * model.len());
                prop_assert_eq!(entries - gaps, model.len());
                most = model.len().max(most);
                prop_assert!(bodies.earlier.len() <= most.min(reloads), "only queues of bodies are kept");
            }
        }
    }
}
