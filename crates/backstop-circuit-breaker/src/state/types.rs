//! What goes into a circuit and comes out of it.

use std::{borrow::Cow, fmt};

use backstop_core::{CircuitState, Verdict};

use super::{Circuit, Knobs, Last, Nanos, SlowRate, Transition, Trip, WaitRule, probes::LeaseId, word::Generation};

/// What is around a circuit: what it is told, and who it tells.
pub(crate) trait Observer: Sized {
    /// Kept with the circuit.
    type Listeners: Default + fmt::Debug;

    fn knobs(&self) -> &Knobs;

    /// Told of each transition once, outside any lock. `error` writes the text of what opened the circuit.
    fn transition(&self, transition: &Transition, error: ErrorOf<'_>, circuit: &Circuit<Self>);
}

/// Writes the text of the error that a call failed with. Called only if that opens the circuit.
pub(crate) type ErrorOf<'a> = &'a dyn Fn() -> Option<Cow<'static, str>>;

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

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) trip: Trip,
    pub(crate) slow: Option<SlowRate>,
    /// What a share of failures and one of slow calls look back on.
    pub(crate) window: Last,
    pub(crate) wait: WaitRule,
    pub(crate) success_threshold: u32,
    pub(crate) max_concurrent_probes: u32,
    pub(crate) probe_lease: Nanos,
    /// How many threads shall be able to count in a window of time without waiting for one another.
    pub(crate) stripes: usize,
}
