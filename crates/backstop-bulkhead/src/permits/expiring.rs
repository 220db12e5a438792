//! The permits of response bodies, which expire.

use std::collections::VecDeque;

use tokio::time::Instant;

use super::Ticket;

/// Sorted by expiry, which is the order of their start, because all last equally long.
///
/// The permit to remove is nearly always among the newest or the oldest, so a tree would cost more.
#[derive(Debug, Default)]
pub(super) struct ExpiringPermits {
    /// In ascending order of tickets. A permit that is removed from the middle leaves a gap.
    queue: VecDeque<(Ticket, Option<Instant>)>,
    /// The number of gaps: at most half of all entries. The first entry is never a gap.
    gaps: usize,
}

impl ExpiringPermits {
    pub(super) fn push(&mut self, ticket: Ticket, until: Instant) {
        self.queue.push_back((ticket, Some(until)));
    }

    /// When the next permit expires.
    pub(super) fn first(&self) -> Option<Instant> {
        self.queue.front().and_then(|(_, until)| *until)
    }

    /// Removes the next permit if it has expired at `now`.
    pub(super) fn pop_expired(&mut self, now: Instant) -> bool {
        let has_expired = self.first().is_some_and(|until| until <= now);
        if has_expired {
            self.queue.pop_front();
            self.close_gaps();
        }
        has_expired
    }

    /// Removes a permit. `false` if it was already removed.
    pub(super) fn remove(&mut self, ticket: Ticket) -> bool {
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
    use std::{collections::BTreeMap, time::Duration};

    use proptest::{collection::vec, prelude::*, sample::Index};

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Begin,
        End(Index),
        Expire(Index),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Begin),
            2 => any::<Index>().prop_map(Step::End),
            1 => any::<Index>().prop_map(Step::Expire),
        ];
        vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn they_are_what_a_sorted_map_is_and_at_most_half_of_them_are_gaps(steps in steps()) {
            let start = Instant::now();
            let at = |ticket: Ticket| start + Duration::from_secs(ticket);
            let (mut bodies, mut model, mut last) = (ExpiringPermits::default(), BTreeMap::new(), 0);
            for step in steps {
                match step {
                    Step::Begin => {
                        last += 1;
                        bodies.push(last, at(last));
                        model.insert(last, at(last));
                    }
                    // Of all that ever began.
                    Step::End(index) => {
                        let ticket = index.index(last as usize + 1) as Ticket;
                        prop_assert_eq!(bodies.remove(ticket), model.remove(&ticket).is_some());
                    }
                    // Up to one of those that are there.
                    Step::Expire(index) => {
                        let up_to = model.keys().nth(index.index(model.len().max(4)) / 4).copied().unwrap_or_default();
                        let expired = std::iter::from_fn(|| bodies.pop_expired(at(up_to)).then_some(())).count();
                        let left = model.split_off(&(up_to + 1));
                        prop_assert_eq!(expired, model.len());
                        model = left;
                    }
                }
                prop_assert_eq!(bodies.first(), model.values().next().copied());
                prop_assert!(bodies.queue.len() <= 2 * model.len());
                prop_assert_eq!(bodies.queue.len() - bodies.gaps, model.len());
            }
        }
    }
}
