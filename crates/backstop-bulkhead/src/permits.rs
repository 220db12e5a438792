//! Which calls run, which wait, and whose permits have expired. Knows nothing of services.
//!
//! One atomic word holds the limit, how many permits are out, and whether anybody waits:
//!
//! | nobody waits, and | on | the word |
//! |---|---|---|
//! | there is room | a call comes | one more is out |
//! | there is no room | a call comes | somebody waits; the call is queued, under the lock |
//! | – | a call ends | one less is out |
//!
//! | somebody waits, and | on | under the lock |
//! |---|---|---|
//! | – | a call comes | it waits behind all others |
//! | the limit isn't exceeded | a call ends | its permit goes to the first in line |
//! | more are out than allowed, because the limit was lowered | a call ends | one less is out |
//! | – | the last in line is gone | nobody waits |
//!
//! While nobody waits, calls come and go by a compare-and-swap of the word. While somebody does, only the holder of the
//! lock changes it. That there is no room and that somebody waits is one compare-and-swap, so no permit that is given
//! back in between is missed.
//!
//! A place in line and the permit of a response body are named by tickets. A ticket that is gone was served: the waiter
//! has its permit, the body has lost its own.

mod expiring;
#[cfg(all(test, backstop_loom))]
mod interleavings;
mod sync;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::{collections::BTreeMap, mem, sync::PoisonError, task::Waker};

use expiring::ExpiringPermits;
use sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use tokio::time::Instant;

pub(crate) type Ticket = u64;

/// The result of asking for a permit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Acquired {
    /// A permit.
    Admitted,
    /// A place in line.
    Queued(Ticket),
    /// Neither.
    Full,
}

/// What became of a place in line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TicketState {
    /// It has a permit now.
    Admitted,
    /// It still waits. The first in line watches the permits that expire: the next one expires at `look_again`.
    Waiting { look_again: Option<Instant> },
}

/// Aligned to a cache line, apart from the reference counts beside it, which every call changes as well.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Permits {
    word: AtomicU64,
    max_waiting: u32,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    last_ticket: Ticket,
    /// In the order in which they came.
    waiters: BTreeMap<Ticket, Waker>,
    expiring: ExpiringPermits,
    /// The first in line, once it watches the permits that expire.
    watches_expiry: Option<Ticket>,
}

/// The bits of the word: one that says that somebody waits, 31 for the limit, 32 for the permits that are out.
#[derive(Clone, Copy)]
struct PackedCounts(u64);

impl PackedCounts {
    const QUEUED: u64 = 1 << 63;
    const LIMIT_AT: u32 = 32;

    const fn new(limit: u32) -> Self {
        Self((limit as u64) << Self::LIMIT_AT)
    }

    const fn in_use(self) -> u32 {
        self.0 as u32
    }

    const fn limit(self) -> u32 {
        ((self.0 & !Self::QUEUED) >> Self::LIMIT_AT) as u32
    }

    const fn is_queued(self) -> bool {
        self.0 & Self::QUEUED != 0
    }

    const fn has_room(self) -> bool {
        self.in_use() < self.limit()
    }

    const fn with_limit(self, limit: u32) -> Self {
        Self((self.0 & Self::QUEUED) | Self::new(limit).0 | self.in_use() as u64)
    }
}

impl Permits {
    pub(crate) fn new(limit: u32, max_waiting: u32) -> Self {
        let word = AtomicU64::new(PackedCounts::new(limit).0);
        Self { word, max_waiting, queue: Mutex::default() }
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.word().in_use()
    }

    pub(crate) fn limit(&self) -> u32 {
        self.word().limit()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.locked(|_, queue, _| queue.waiters.len())
    }

    pub(crate) const fn max_waiting(&self) -> u32 {
        self.max_waiting
    }

    #[inline]
    fn word(&self) -> PackedCounts {
        PackedCounts(self.word.load(Ordering::Acquire))
    }

    /// Whether a call would get a permit now.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        let word = self.word();
        word.has_room() && !word.is_queued()
    }

    /// Takes a permit if one is free and no call waits.
    #[inline]
    pub(crate) fn try_acquire(&self) -> bool {
        self.change(|word| (word.has_room() && !word.is_queued()).then_some(word.0 + 1))
    }

    /// Gives a permit back.
    #[inline]
    pub(crate) fn release(&self) {
        if !self.change(|word| (!word.is_queued()).then(|| word.0 - 1)) {
            self.release_to_line();
        }
    }

    #[cold]
    fn release_to_line(&self) {
        self.locked(Self::give_back);
    }

    /// A permit, else a place in line.
    pub(crate) fn acquire(&self, waker: &Waker) -> Acquired {
        let waker = waker.clone();
        self.locked(|permits, queue, _| {
            let may_wait = queue.waiters.len() < permits.max_waiting as usize;
            let mut admitted = false;
            permits.change(|word| {
                admitted = word.has_room() && !word.is_queued();
                match (admitted, may_wait) {
                    (true, _) => Some(word.0 + 1),
                    (false, true) => Some(word.0 | PackedCounts::QUEUED),
                    (false, false) => None,
                }
            });
            match (admitted, may_wait) {
                // The waker is dropped by the caller's frame, without the lock.
                (true, _) => (Acquired::Admitted, Some(waker)),
                (false, true) => {
                    let ticket = queue.next_ticket();
                    if queue.waiters.is_empty() {
                        // It polls next, and learns of them then.
                        queue.watches_expiry = Some(ticket);
                    }
                    queue.waiters.insert(ticket, waker);
                    (Acquired::Queued(ticket), None)
                }
                (false, false) => (Acquired::Full, Some(waker)),
            }
        })
        .0
    }

    /// What became of a place in line. `waker` is woken when that changes.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> TicketState {
        let waker = waker.clone();
        self.locked(|_, queue, _| {
            let Some(waiter) = queue.waiters.get_mut(&ticket) else {
                return (TicketState::Admitted, waker);
            };
            let replaced = mem::replace(waiter, waker);
            let is_first = queue.waiters.keys().next() == Some(&ticket);
            let first_to_expire = queue.expiring.first().filter(|_| is_first);
            if is_first {
                queue.watches_expiry = first_to_expire.map(|_| ticket);
            }
            (TicketState::Waiting { look_again: first_to_expire }, replaced)
        })
        .0
    }

    /// Gives up a place in line. False if it has a permit by now.
    pub(crate) fn leave(&self, ticket: Ticket) -> bool {
        let left = self.locked(|permits, queue, _| {
            let left = queue.waiters.remove(&ticket);
            permits.no_line_if_empty(queue);
            left
        });
        left.is_some()
    }

    /// Makes a permit expire at `until`.
    pub(crate) fn start_body(&self, until: Instant) -> Ticket {
        self.locked(|_, queue, _| {
            let ticket = queue.next_ticket();
            queue.expiring.push(ticket, until);
            ticket
        })
    }

    /// Gives such a permit back. False if it was taken back before.
    pub(crate) fn end_body(&self, ticket: Ticket) -> bool {
        // Wakes nobody: the first in line goes on watching the others.
        let had_it = self.queue().expiring.remove(ticket);
        if had_it {
            self.release();
        }
        had_it
    }

    /// Takes back the permits that have expired, and returns how many.
    pub(crate) fn take_back_expired(&self, now: Instant) -> u32 {
        self.locked(|permits, queue, woken| {
            let mut expired = 0;
            while queue.expiring.pop_expired(now) {
                permits.give_back(queue, woken);
                expired += 1;
            }
            expired
        })
    }

    /// Sets the limit. If it grows, waiting calls get permits; if it shrinks, running calls go on.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.locked(|permits, queue, woken| {
            permits.change(|word| Some(word.with_limit(limit).0));
            while permits.word().has_room() && permits.admit_first(queue, woken) {
                permits.change(|word| Some(word.0 + 1));
            }
            permits.no_line_if_empty(queue);
        });
    }

    /// With the lock: a permit comes back.
    fn give_back(&self, queue: &mut Queue, woken: &mut Vec<Waker>) {
        let word = self.word();
        if word.in_use() > word.limit() || !self.admit_first(queue, woken) {
            self.change(|word| Some(word.0 - 1));
        }
        self.no_line_if_empty(queue);
    }

    /// With the lock: the first in line is admitted.
    fn admit_first(&self, queue: &mut Queue, woken: &mut Vec<Waker>) -> bool {
        let first = queue.waiters.pop_first();
        let admitted = first.is_some();
        woken.extend(first.map(|(_, waker)| waker));
        admitted
    }

    fn no_line_if_empty(&self, queue: &Queue) {
        if queue.waiters.is_empty() {
            self.change(|word| word.is_queued().then_some(word.0 & !PackedCounts::QUEUED));
        }
    }

    #[inline]
    fn change(&self, mut change: impl FnMut(PackedCounts) -> Option<u64>) -> bool {
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| change(PackedCounts(word))).is_ok()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts with the lock, and wakes without it: a waker is foreign code, and its task may end with the last one.
    fn locked<R>(&self, act: impl FnOnce(&Self, &mut Queue, &mut Vec<Waker>) -> R) -> R {
        let mut woken = Vec::new();
        let result = {
            let mut queue = self.queue();
            let result = act(self, &mut queue, &mut woken);
            woken.extend(queue.first_must_look());
            result
        };
        woken.into_iter().for_each(Waker::wake);
        result
    }
}

impl Queue {
    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The first in line, if it doesn't watch the permits that expire yet.
    fn first_must_look(&mut self) -> Option<Waker> {
        let (first, waker) = self.waiters.first_key_value()?;
        if self.expiring.first().is_none() || self.watches_expiry == Some(*first) {
            return None;
        }
        self.watches_expiry = Some(*first);
        Some(waker.clone())
    }
}
