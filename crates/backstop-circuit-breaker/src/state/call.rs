//! Admissions, refusals and results.

use std::num::NonZeroU64;

use backstop_core::Verdict;

use crate::{CircuitMode, CircuitState};

use super::{Nanos, packed_state::Generation};

/// Identifies a lease. Never used again.
pub(crate) type LeaseId = NonZeroU64;

/// Permission to make one call. [`Circuit::record`](super::Circuit::record) takes it back.
#[derive(Clone, Copy, Debug)]
#[must_use = "an admission that isn't recorded counts as a call that never ends"]
pub(crate) struct Admission {
    pub(super) generation: Generation,
    /// The lease of a probe.
    pub(super) lease: Option<LeaseId>,
    /// Whether a success counts only until the lease expires. Later it was already counted, or must not be.
    pub(super) counts_while_leased: bool,
}

impl Admission {
    /// Of a call that doesn't count: an observing circuit would have refused it.
    pub(crate) const UNCOUNTED: Self = Self::new(Generation::NONE, None);

    pub(super) const fn new(generation: Generation, lease: Option<LeaseId>) -> Self {
        Self { generation, lease, counts_while_leased: false }
    }

    /// Whether the call's result counts.
    #[inline]
    pub(crate) fn is_counted(&self) -> bool {
        self.generation != Generation::NONE
    }

    /// Whether the call is a probe.
    pub(crate) const fn is_probe(&self) -> bool {
        self.lease.is_some()
    }
}

/// The result of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) verdict: Verdict,
    pub(crate) slow: bool,
    /// The wait that the dependency asked for, if the circuit respects it.
    pub(crate) asked: Option<Nanos>,
    /// Whether the caller ended the call, so that its outcome is unknown.
    pub(crate) abandoned: bool,
}

/// What a prober may do next.
#[derive(Debug)]
pub(crate) enum Turn {
    /// It may make a call, which ends after `lease` at the latest.
    Probe { admission: Admission, lease: Nanos },
    /// It may ask again after this time, or when the state has changed.
    After(Nanos),
    /// It may ask again when the state has changed.
    Idle,
}

impl From<Verdict> for Finished {
    fn from(verdict: Verdict) -> Self {
        Self { verdict, slow: false, asked: None, abandoned: verdict == Verdict::Neutral }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) state: CircuitState,
    /// Whether it really refuses.
    pub(crate) mode: CircuitMode,
    /// How long the circuit stays open, or admits no larger share. Zero if unknown.
    pub(crate) wait: Nanos,
}

/// What a call was told before it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedAhead {
    /// Of the circuit, when it was told.
    pub(super) generation: Generation,
    /// A refusal holds whatever happens meanwhile, because the inner service isn't ready then.
    pub(super) result: Result<Admission, Refused>,
}

impl AskedAhead {
    pub(crate) const fn is_refused(&self) -> bool {
        self.result.is_err()
    }
}

/// What has been counted in the current generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
    pub(crate) in_a_row: u32,
    pub(crate) slow: u32,
    pub(crate) probes: u32,
    pub(crate) probe_successes: u32,
}
