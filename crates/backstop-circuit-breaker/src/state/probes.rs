//! The probes of one half-open episode.
//!
//! A probe holds a lease, with an id and a deadline. It is given back by its id: with a bare counter, a holder that
//! comes back after its lease expired, and was given to somebody else, would give back the other's, and one probe too
//! many would be let in. An expired lease is taken back only when somebody asks for one, so that nothing has to run
//! meanwhile.

use std::num::NonZeroU64;

use super::Nanos;

/// Names a lease for ever.
pub(crate) type LeaseId = NonZeroU64;

#[derive(Debug)]
pub(crate) struct Probes {
    leases: Vec<Lease>,
    next_id: LeaseId,
    successes: u32,
    leased_at: Nanos,
}

#[derive(Debug)]
struct Lease {
    id: LeaseId,
    deadline: Nanos,
    /// Whether the response head has come, and was a success. The rest of the body may never be known.
    has_good_head: bool,
}

impl Probes {
    pub(crate) const fn new() -> Self {
        Self { leases: Vec::new(), next_id: LeaseId::MIN, successes: 0, leased_at: 0 }
    }

    /// Starts a new episode. Ids go on, so that one of an earlier episode never comes again.
    pub(crate) fn restart(&mut self) {
        self.leases.clear();
        self.successes = 0;
    }

    /// Takes back the leases that have expired. Those whose head was good are successes. Whether there were any.
    pub(crate) fn expire(&mut self, now: Nanos) -> bool {
        let before = self.successes;
        for _ in self.leases.extract_if(.., |lease| lease.deadline <= now).filter(|lease| lease.has_good_head) {
            self.successes = self.successes.saturating_add(1);
        }
        self.successes > before
    }

    /// Leases a permit, unless `max` are out. Those that have [expired](Self::expire) aren't.
    pub(crate) fn lease(&mut self, now: Nanos, length: Nanos, max: u32) -> Option<LeaseId> {
        if self.leases.len() >= max as usize {
            return None;
        }
        let id = self.next_id;
        self.next_id = id.saturating_add(1);
        self.leased_at = now;
        self.leases.push(Lease { id, deadline: now.saturating_add(length), has_good_head: false });
        Some(id)
    }

    /// Takes a permit back. Whether it was still out.
    pub(crate) fn give_back(&mut self, id: LeaseId) -> bool {
        let before = self.leases.len();
        self.leases.retain(|lease| lease.id != id);
        self.leases.len() < before
    }

    /// The head of this probe's response is good. Whether its permit is still out.
    pub(crate) fn head_is_good(&mut self, id: LeaseId) -> bool {
        let lease = self.leases.iter_mut().find(|lease| lease.id == id);
        lease.map(|lease| lease.has_good_head = true).is_some()
    }

    /// When the latest permit was leased.
    pub(crate) const fn leased_at(&self) -> Nanos {
        self.leased_at
    }

    /// How many probes have succeeded in this episode, with this one.
    pub(crate) fn succeeded(&mut self) -> u32 {
        self.successes = self.successes.saturating_add(1);
        self.successes
    }

    pub(crate) const fn successes(&self) -> u32 {
        self.successes
    }

    /// How many probes are out whose lease hasn't expired.
    pub(crate) fn in_flight(&self, now: Nanos) -> u32 {
        let in_flight = self.leases.iter().filter(|lease| lease.deadline > now).count();
        u32::try_from(in_flight).unwrap_or(u32::MAX)
    }

    /// When fewer than `max` will be out, if none is given back.
    pub(crate) fn free_at(&self, max: u32) -> Option<Nanos> {
        let mut deadlines: Vec<_> = self.leases.iter().map(|lease| lease.deadline).collect();
        deadlines.sort_unstable();
        deadlines.get(deadlines.len().checked_sub(max as usize)?).copied()
    }
}
