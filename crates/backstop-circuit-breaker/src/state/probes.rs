//! The probes of one half-open episode.
//!
//! A probe holds a lease with an id and a deadline, and gives it back by its id. With a mere counter, a late probe whose lease
//! has expired would give back another probe's permit, and one probe too many would be admitted. Expired leases are taken back
//! when a call asks for one, so no background task is needed.
//!
//! # Callers who leave
//!
//! A probe whose caller leaves has no result, and has blocked other calls meanwhile. Two rules keep such callers from delaying
//! recovery:
//!
//! - If a caller's deadline ended a probe, that time is too short. Until a shorter time proves long enough, callers with less
//!   than twice that time left become probes only if no other call did for 1.25 waits.
//! - Callers who hang up can't be recognised beforehand. Once a whole wait has passed without a result, each of them makes
//!   room for one more probe, until the circuit closes or opens. So a caller who stays is admitted.

use super::{
    Nanos, Verdict,
    call::{Finished, LeaseId},
};

/// The most additional probes that callers who leave can make room for.
pub(super) const MOST_EXTRA: u32 = 1000;

#[derive(Debug)]
pub(crate) struct Probes {
    leases: Vec<Lease>,
    next_id: LeaseId,
    successes: u32,
    leased_at: Nanos,
    /// The successes of probers.
    supplied: u32,
    /// When a call was last admitted, or else when the wait ended.
    last_admitted: Nanos,
    /// When a call last had a result, or else when the wait ended.
    last_result: Nanos,
    /// How many probes are allowed beyond the configured number.
    extra: u32,
    /// A caller with less time left than this is likely to leave before the end. Reset when the circuit closes.
    too_short: Nanos,
}

/// Who asks for a permit.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A call, and how long its caller will wait, if known.
    Call {
        time_left: Option<Nanos>,
    },
    Prober,
}

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    caller: Caller,
    started: Nanos,
    deadline: Nanos,
    /// Whether the response head has arrived, and is a success. The body may never end.
    has_good_head: bool,
}

impl Probes {
    pub(crate) const fn new() -> Self {
        Self {
            leases: Vec::new(),
            next_id: LeaseId::MIN,
            successes: 0,
            supplied: 0,
            last_admitted: 0,
            last_result: 0,
            extra: 0,
            too_short: 0,
            leased_at: 0,
        }
    }

    /// Starts a new episode, after a wait that ended at `due`. Ids continue, so that an id is never used again.
    pub(crate) fn restart(&mut self, due: Nanos) {
        self.leases.clear();
        (self.successes, self.supplied, self.extra) = (0, 0, 0);
        (self.last_admitted, self.last_result) = (due, due);
    }

    /// The circuit closed.
    pub(crate) const fn forget(&mut self) {
        self.too_short = 0;
    }

    /// Takes back expired leases. Those with a good head are successes. Returns whether there were any successes.
    pub(crate) fn expire(&mut self, now: Nanos) -> bool {
        let before = self.successes;
        for lease in self.leases.extract_if(.., |lease| lease.deadline <= now).filter(|lease| lease.has_good_head) {
            self.successes = self.successes.saturating_add(1);
            self.last_result = self.last_result.max(lease.deadline);
        }
        self.successes > before
    }

    /// Until when a caller with this much time left isn't admitted, because that time is probably too short. `since` is when a
    /// call was last admitted, or could have been.
    pub(crate) fn held_back_until(&self, time_left: Option<Nanos>, since: Nanos, wait: Nanos) -> Option<Nanos> {
        // A quarter more, so that a caller who comes once per wait is admitted first.
        let wait = wait.saturating_add(wait / 4);
        time_left.filter(|time_left| *time_left < self.too_short).map(|_| since.saturating_add(wait))
    }

    /// When a call was last admitted.
    pub(crate) const fn last_admitted(&self) -> Nanos {
        self.last_admitted
    }

    /// When a prober may supply the last success: after a `wait` in which no call had a result. `None` while a call runs.
    pub(crate) fn quiet_from(&self, wait: Nanos) -> Option<Nanos> {
        let calls = self.leases.iter().any(|lease| matches!(lease.caller, Caller::Call { .. }));
        (!calls).then(|| self.last_result.saturating_add(wait))
    }

    /// How many successes probers have supplied, or may still supply by their running probes.
    pub(crate) fn supplied(&self) -> u32 {
        let out = self.leases.iter().filter(|lease| matches!(lease.caller, Caller::Prober)).count();
        self.supplied.saturating_add(u32::try_from(out).unwrap_or(u32::MAX))
    }

    /// Leases a permit, unless `max` are leased. Call [`expire`](Self::expire) before.
    pub(crate) fn lease(&mut self, caller: Caller, now: Nanos, length: Nanos, max: u32) -> Option<LeaseId> {
        let max = match caller {
            Caller::Call { .. } => self.room(max),
            Caller::Prober => max as usize,
        };
        if self.leases.len() >= max {
            return None;
        }
        if matches!(caller, Caller::Call { .. }) {
            self.last_admitted = self.last_admitted.max(now);
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.leased_at = now;
        let deadline = now.saturating_add(length);
        self.leases.push(Lease { id, caller, started: now, deadline, has_good_head: false });
        Some(id)
    }

    /// Takes a permit back, and learns from how the probe ended. Returns whether it was still leased.
    pub(crate) fn give_back(&mut self, id: LeaseId, finished: &Finished, now: Nanos, wait: Nanos) -> bool {
        let at = self.leases.iter().position(|lease| lease.id == id);
        let lease = at.map(|at| self.leases.swap_remove(at));
        let succeeded = finished.verdict == Verdict::Success;
        let time_left = match &lease {
            Some(Lease { caller: Caller::Prober, .. }) => {
                self.supplied = self.supplied.saturating_add(succeeded.into());
                return true;
            }
            Some(Lease { caller: Caller::Call { time_left }, started, .. }) => {
                time_left.map(|time_left| (time_left, now.saturating_sub(*started)))
            }
            None => None,
        };
        if !finished.abandoned {
            self.last_result = self.last_result.max(now);
        } else if now >= self.last_result.saturating_add(wait) {
            self.extra = self.extra.saturating_add(1).min(MOST_EXTRA);
        }
        match time_left {
            // The time was long enough.
            Some((time_left, _)) if succeeded => self.too_short = self.too_short.min(time_left),
            // The time was too short. Doubled, so that callers with only a little more time are soon excluded, too.
            Some((time_left, took)) if finished.abandoned && took >= time_left => {
                self.too_short = self.too_short.max(time_left.saturating_mul(2));
            }
            _ => {}
        }
        lease.is_some()
    }

    /// The head of this probe's response is good. Returns whether its permit is still leased.
    pub(crate) fn head_is_good(&mut self, id: LeaseId) -> bool {
        let lease = self.leases.iter_mut().find(|lease| lease.id == id);
        lease.map(|lease| lease.has_good_head = true).is_some()
    }

    /// When the latest permit was leased.
    pub(crate) const fn leased_at(&self) -> Nanos {
        self.leased_at
    }

    /// Counts a success. Returns the number of successes in this episode.
    pub(crate) fn succeeded(&mut self) -> u32 {
        self.successes = self.successes.saturating_add(1);
        self.successes
    }

    pub(crate) const fn successes(&self) -> u32 {
        self.successes
    }

    /// How many probes are running whose lease hasn't expired.
    pub(crate) fn in_flight(&self, now: Nanos) -> u32 {
        let in_flight = self.leases.iter().filter(|lease| lease.deadline > now).count();
        u32::try_from(in_flight).unwrap_or(u32::MAX)
    }

    /// When there will be room for another probe, if no permit is given back. `None` if there is room now.
    pub(crate) fn free_at(&self, max: u32) -> Option<Nanos> {
        let first_to_wait_for = self.leases.len().checked_sub(self.room(max))?;
        let mut deadlines: Vec<_> = self.leases.iter().map(|lease| lease.deadline).collect();
        // There is room for at least one, so this index exists.
        (first_to_wait_for < deadlines.len()).then(|| *deadlines.select_nth_unstable(first_to_wait_for).1)
    }

    const fn room(&self, max: u32) -> usize {
        max.saturating_add(self.extra) as usize
    }
}
