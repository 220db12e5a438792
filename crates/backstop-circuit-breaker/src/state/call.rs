//! Calls, as a circuit sees them.

use std::num::NonZeroU64;

use backstop_core::Verdict;

use crate::CircuitState;

use super::{Nanos, packed_state::Generation};

/// Names a lease for ever.
pub(crate) type LeaseId = NonZeroU64;

/// Leave to make one call. Whoever has it gives it back by [`Circuit::record`], once.
#[derive(Clone, Copy, Debug)]
#[must_use = "an admission that isn't recorded counts as a call that never ends"]
pub(crate) struct Admission {
    pub(super) generation: Generation,
    /// Of a probe.
    pub(super) lease: Option<LeaseId>,
    /// Whether its success counts only while its lease is out: later, it was counted when that expired, or isn't to be.
    pub(super) counts_while_leased: bool,
}

impl Admission {
    pub(super) const fn new(generation: Generation, lease: Option<LeaseId>) -> Self {
        Self { generation, lease, counts_while_leased: false }
    }

    /// Whether it is a probe's.
    pub(crate) const fn is_probe(&self) -> bool {
        self.lease.is_some()
    }
}

/// What came of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Finished {
    pub(crate) verdict: Verdict,
    pub(crate) slow: bool,
    /// How long the dependency asked to be left alone, where that is respected.
    pub(crate) asked: Option<Nanos>,
    /// Whether nobody learned how it would have ended, because its caller left or broke it.
    pub(crate) abandoned: bool,
}

/// What a prober may do.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Make a call, and end it when this has passed.
    Probe { admission: Admission, lease: Nanos },
    /// Ask again when this has passed, or when the state has changed.
    After(Nanos),
    /// Ask again when the state has changed.
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
    /// How long the circuit stays open; zero where that isn't known.
    pub(crate) wait: Nanos,
}

/// What has been counted in the current generation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
    pub(crate) slow: u32,
    pub(crate) probes: u32,
    pub(crate) probe_successes: u32,
}
