//! Who runs, who waits, and whose time is up. Knows nothing of services.
//!
//! One atomic word holds the limit, how many permits are out, and whether anybody waits:
//!
//! | nobody waits, and | on | the word |
//! |---|---|---|
//! | there is room | a call comes | one more is out |
//! | there is no room | a call comes | somebody waits; the call stands in line, under the lock |
//! | – | a call ends | one less is out |
//!
//! | somebody waits, and | on | under the lock |
//! |---|---|---|
//! | – | a call comes | it stands in line, behind all others |
//! | the limit isn't exceeded | a call ends | its permit goes to the first in line |
//! | more are out than allowed, since the limit sank | a call ends | one less is out |
//! | – | the last in line is gone | nobody waits |
//!
//! While nobody waits, calls come and go by a compare-and-swap of the word. While somebody does, only the holder of the
//! lock changes it. That there is no room and that somebody waits is one compare-and-swap, so no permit that is given
//! back in between is missed.
//!
//! A place in line, and the permit of a response body, are tickets. Whoever finds their ticket gone has been served: a
//! waiter has the permit, a body has lost it.

mod bodies;
#[cfg(all(test, backstop_loom))]
mod interleavings;
mod sync;
#[cfg(all(test, not(backstop_loom)))]
mod tests;

use std::{collections::BTreeMap, mem, sync::PoisonError, task::Waker};

use bodies::Bodies;
use sync::{AtomicU64, Mutex, MutexGuard, Ordering};
use tokio::time::Instant;

pub(crate) type Ticket = u64;

/// What a call gets that finds no room at once.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A permit.
    Admitted,
    /// A place in line.
    Queued(Ticket),
    /// Neither.
    Full,
}

/// What has become of a place in line.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Queued {
    /// It is a permit now.
    Admitted,
    /// It is a place in line still. Who stands first looks after the permits that expire, the first of them then.
    Waiting { look_again: Option<Instant> },
}

/// Aligned to a cache line, apart from the reference counts beside it, which every call changes as well.
#[derive(Debug)]
#[repr(align(64))]
pub(crate) struct Permits {
    word: AtomicU64,
    max_waiting: u32,
    line: Mutex<Line>,
}

#[derive(Debug, Default)]
struct Line {
    last_ticket: Ticket,
    /// In the order in which they came.
    waiters: BTreeMap<Ticket, Waker>,
    bodies: Bodies,
    /// The first in line, once it knows that there is a permit that expires.
    looks_after_bodies: Option<Ticket>,
}

/// The bits of the word: one that says that somebody waits, 31 for the limit, 32 for the permits that are out.
#[derive(Clone, Copy)]
struct Word(u64);

impl Word {
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
        let word = AtomicU64::new(Word::new(limit).0);
        Self { word, max_waiting, line: Mutex::default() }
    }

    pub(crate) fn in_use(&self) -> u32 {
        self.word().in_use()
    }

    pub(crate) fn limit(&self) -> u32 {
        self.word().limit()
    }

    pub(crate) fn waiting(&self) -> usize {
        self.locked(|_, line, _| line.waiters.len())
    }

    pub(crate) const fn max_waiting(&self) -> u32 {
        self.max_waiting
    }

    #[inline]
    fn word(&self) -> Word {
        Word(self.word.load(Ordering::Acquire))
    }

    /// Whether a call that comes now finds a permit.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        let word = self.word();
        word.has_room() && !word.is_queued()
    }

    /// A permit, where there is room and nobody waits.
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
    pub(crate) fn acquire(&self, waker: &Waker) -> Asked {
        let waker = waker.clone();
        self.locked(|permits, line, _| {
            let may_wait = line.waiters.len() < permits.max_waiting as usize;
            let mut admitted = false;
            permits.change(|word| {
                admitted = word.has_room() && !word.is_queued();
                match (admitted, may_wait) {
                    (true, _) => Some(word.0 + 1),
                    (false, true) => Some(word.0 | Word::QUEUED),
                    (false, false) => None,
                }
            });
            match (admitted, may_wait) {
                // The waker is dropped by the caller's frame, without the lock.
                (true, _) => (Asked::Admitted, Some(waker)),
                (false, true) => {
                    let ticket = line.next_ticket();
                    if line.waiters.is_empty() {
                        // It polls next, and learns it then.
                        line.looks_after_bodies = Some(ticket);
                    }
                    line.waiters.insert(ticket, waker);
                    (Asked::Queued(ticket), None)
                }
                (false, false) => (Asked::Full, Some(waker)),
            }
        })
        .0
    }

    /// What has become of a place in line. `waker` is woken when that changes.
    pub(crate) fn poll(&self, ticket: Ticket, waker: &Waker) -> Queued {
        let waker = waker.clone();
        self.locked(|_, line, _| {
            let Some(waiter) = line.waiters.get_mut(&ticket) else {
                return (Queued::Admitted, waker);
            };
            let replaced = mem::replace(waiter, waker);
            let is_first = line.waiters.keys().next() == Some(&ticket);
            let first_to_expire = line.bodies.first().filter(|_| is_first);
            if is_first {
                line.looks_after_bodies = first_to_expire.map(|_| ticket);
            }
            (Queued::Waiting { look_again: first_to_expire }, replaced)
        })
        .0
    }

    /// Gives up a place in line; false where it is a permit by now.
    pub(crate) fn leave(&self, ticket: Ticket) -> bool {
        let left = self.locked(|permits, line, _| {
            let left = line.waiters.remove(&ticket);
            permits.no_line_if_empty(line);
            left
        });
        left.is_some()
    }

    /// From now on a permit expires.
    pub(crate) fn start_body(&self, until: Instant) -> Ticket {
        self.locked(|_, line, _| {
            let ticket = line.next_ticket();
            line.bodies.push(ticket, until);
            ticket
        })
    }

    /// Gives such a permit back; false where it was taken back before.
    pub(crate) fn end_body(&self, ticket: Ticket) -> bool {
        // Wakes nobody: who looks after the others goes on with that.
        let had_it = self.line().bodies.remove(ticket);
        if had_it {
            self.release();
        }
        had_it
    }

    /// Takes back the permits that have expired: how many that were.
    pub(crate) fn take_back_expired(&self, now: Instant) -> u32 {
        self.locked(|permits, line, woken| {
            let mut expired = 0;
            while line.bodies.pop_expired(now) {
                permits.give_back(line, woken);
                expired += 1;
            }
            expired
        })
    }

    /// Sets the limit. Where it grows, those in line come in; where it sinks, those who run run on.
    pub(crate) fn set_limit(&self, limit: u32) {
        self.locked(|permits, line, woken| {
            permits.change(|word| Some(word.with_limit(limit).0));
            while permits.word().has_room() && permits.admit_first(line, woken) {
                permits.change(|word| Some(word.0 + 1));
            }
            permits.no_line_if_empty(line);
        });
    }

    /// With the lock: a permit comes back.
    fn give_back(&self, line: &mut Line, woken: &mut Vec<Waker>) {
        let word = self.word();
        if word.in_use() > word.limit() || !self.admit_first(line, woken) {
            self.change(|word| Some(word.0 - 1));
        }
        self.no_line_if_empty(line);
    }

    /// With the lock: the first in line is admitted.
    fn admit_first(&self, line: &mut Line, woken: &mut Vec<Waker>) -> bool {
        let first = line.waiters.pop_first();
        let admitted = first.is_some();
        woken.extend(first.map(|(_, waker)| waker));
        admitted
    }

    fn no_line_if_empty(&self, line: &Line) {
        if line.waiters.is_empty() {
            self.change(|word| word.is_queued().then_some(word.0 & !Word::QUEUED));
        }
    }

    #[inline]
    fn change(&self, mut change: impl FnMut(Word) -> Option<u64>) -> bool {
        self.word.fetch_update(Ordering::AcqRel, Ordering::Acquire, |word| change(Word(word))).is_ok()
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Acts with the lock, and wakes without it: a waker is foreign code, and its task may end with the last one.
    fn locked<R>(&self, act: impl FnOnce(&Self, &mut Line, &mut Vec<Waker>) -> R) -> R {
        let mut woken = Vec::new();
        let result = {
            let mut line = self.line();
            let result = act(self, &mut line, &mut woken);
            woken.extend(line.first_must_look());
            result
        };
        woken.into_iter().for_each(Waker::wake);
        result
    }
}

impl Line {
    fn next_ticket(&mut self) -> Ticket {
        self.last_ticket += 1;
        self.last_ticket
    }

    /// The first in line, where it doesn't know yet that it has to look after the permits that expire.
    fn first_must_look(&mut self) -> Option<Waker> {
        let (first, waker) = self.waiters.first_key_value()?;
        if self.bodies.first().is_none() || self.looks_after_bodies == Some(*first) {
            return None;
        }
        self.looks_after_bodies = Some(*first);
        Some(waker.clone())
    }
}
