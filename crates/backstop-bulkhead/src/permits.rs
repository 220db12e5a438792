//! Which calls run, which wait, and whose permits have expired. Independent of services.
//!
//! One atomic word holds the limit, the number of permits in use, and whether a call waits:
//!
//! | no call waits, and | on | the word |
//! |---|---|---|
//! | there is room | a call arrives | one more permit in use |
//! | there is no room | a call arrives | a call waits; it is queued, under the lock |
//! | – | a call ends | one less in use |
//!
//! | a call waits, and | on | under the lock |
//! |---|---|---|
//! | – | a call arrives | it waits behind all others |
//! | the limit isn't exceeded | a call ends | its permit goes to the first in line |
//! | the limit is exceeded, because it was lowered | a call ends | one less in use |
//! | – | the limit is raised | the first in line get permits until there is no room |
//! | – | the last waiting call is admitted or leaves | no call waits |
//!
//! While no call waits, a call takes and returns its permit by a compare-and-swap of the word. While a call waits, only the
//! holder of the lock changes the word. One compare-and-swap both checks that there is no room and marks that a call waits,
//! so a permit that is returned in between isn't missed.
//!
//! Tickets identify places in line and the permits of response bodies. If a ticket is no longer in its queue, the waiter has
//! its permit, or the body has lost its own.

mod expiring;
#[cfg(all(test, backstop_loom))]
mod interleavings;
mod sync;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::{collections::BTreeMap, mem, sync::PoisonError, task::Waker, time::Duration};

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

/// The state of a place in line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TicketState {
    /// It has a permit.
    Admitted,
    /// It still waits. For the first in line, `look_again` is when the next permit expires.
    Waiting { look_again: Option<Instant> },
}

/// Aligned, so that the reference counts, which every call changes too, are in another cache line.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Permits {
    word: AtomicU64,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    /// How many calls may wait. If it is lowered, calls that already wait stay in line.
    max_waiting: u32,
    last_ticket: Ticket,
    /// In order of arrival.
    waiters: BTreeMap<Ticket, Waker>,
    expiring: ExpiringPermits,
    /// When the first in line polls next, because a permit expires then.
    watches_expiry: Option<Watch>,
}

/// The first in line, once it knows when the next permit expires.
#[derive(Clone, Copy, Debug)]
struct Watch {
    ticket: Ticket,
    /// When it polls again. `None`: it is about to poll.
    at: Option<Instant>,
}

/// The bits of the word: 1 for whether a call waits, 31 for the limit, 32 for the permits in use.
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
        Self { word, queue: Mutex::new(Queue { max_waiting, ..Queue::default() }) }
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

    pub(crate) fn max_waiting(&self) -> u32 {
        self.queue().max_waiting
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

    /// Takes a permit, or a place in line.
    pub(crate) fn acquire(&self, waker: &Waker) -> Acquired {
        let waker = waker.clone();
        self.locked(|permits, queue, _| {
            let may_wait = queue.waiters.len() < queue.max_waiting as usize;
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
                // Returned, so that the waker is dropped outside the lock.
                (true, _) => (Acquired::Admitted, Some(waker)),
                (false, true) => {
                    let ticket = queue.next_ticket();
                    if queue.waiters.is_empty() {
                        // It learns of expiring permits in its next poll.
                        queue.watches_expiry = Some(Watch { ticket, at: None });
                    }
                    queue.waiters.insert(ticket, waker);
                    (Acquired::Queued(ticket), None)
                }
                (false, false) => (Acquired::Full, Some(waker)),
            }
        })
        .0
    }

    /// The state of a place in line. `waker` is woken when it changes.
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
                queue.watches_expiry = first_to_expire.map(|at| Watch { ticket, at: Some(at) });
            }
            (TicketState::Waiting { look_again: first_to_expire }, replaced)
        })
        .0
    }

    /// Gives up a place in line. `false` if it already has a permit.
    pub(crate) fn leave(&self, ticket: Ticket) -> bool {
        let left = self.locked(|permits, queue, _| {
            let left = queue.waiters.remove(&ticket);
            permits.no_line_if_empty(queue);
            left
        });
        left.is_some()
    }

    /// Turns a call's permit into a body's permit, which expires at `until`, after `max_hold`.
    pub(crate) fn start_body(&self, until: Instant, max_hold: Duration) -> Ticket {
        let mut queue = self.queue();
        let ticket = queue.next_ticket();
        queue.expiring.push(ticket, until, max_hold);
        let woken = queue.first_must_look();
        // As in `locked`, but at most one is woken.
        drop(queue);
        if let Some(first) = woken {
            first.wake();
        }
        ticket
    }

    /// Gives a body's permit back. `false` if it was already taken back.
    pub(crate) fn end_body(&self, ticket: Ticket) -> bool {
        // No need to wake the first in line: its timer fires early, and it looks again.
        let had_it = self.queue().expiring.remove(ticket);
        if had_it {
            self.release();
        }
        had_it
    }

    /// Takes back expired permits, and returns the `max_hold` of each.
    pub(crate) fn take_back_expired(&self, now: Instant) -> Vec<Duration> {
        self.locked(|permits, queue, woken| {
            let mut expired = Vec::new();
            while let Some(max_hold) = queue.expiring.pop_expired(now) {
                permits.give_back(queue, woken);
                expired.push(max_hold);
            }
            expired
        })
    }

    /// Sets the limit. If it grows, waiting calls get permits; if it shrinks, running calls go on.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.reload(limit, None);
    }

    /// Sets the limit and, unless `None`, how many may wait. Calls that wait already go on waiting, in order.
    pub(crate) fn reload(&self, limit: u32, max_waiting: Option<u32>) {
        self.locked(|permits, queue, woken| {
            queue.max_waiting = max_waiting.unwrap_or(queue.max_waiting);
            permits.change(|word| Some(word.with_limit(limit).0));
            while permits.word().has_room() && permits.admit_first(queue, woken) {
                permits.change(|word| Some(word.0 + 1));
            }
            permits.no_line_if_empty(queue);
        });
    }

    /// Gives a permit back, under the lock.
    fn give_back(&self, queue: &mut Queue, woken: &mut Vec<Waker>) {
        let word = self.word();
        if word.in_use() > word.limit() || !self.admit_first(queue, woken) {
            self.change(|word| Some(word.0 - 1));
        }
        self.no_line_if_empty(queue);
    }

    /// Admits the first in line, under the lock. `false` if no call waits.
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

    /// Runs `act` under the lock, and wakes outside of it, because a waker is foreign code, and dropping it may drop a task.
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

    /// The waker of the first in line, unless it already knows when the next permit expires. After `max_hold` was lowered, a
    /// new permit may expire before an older one.
    fn first_must_look(&mut self) -> Option<Waker> {
        let (first, waker) = self.waiters.first_key_value()?;
        let expires = self.expiring.first()?;
        if self.watches_expiry.is_some_and(|Watch { ticket, at }| ticket == *first && at.is_none_or(|at| at <= expires))
        {
            return None;
        }
        self.watches_expiry = Some(Watch { ticket: *first, at: None });
        Some(waker.clone())
    }
}
