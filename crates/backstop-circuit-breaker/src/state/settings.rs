//! The settings of a circuit, which are valid.

use super::{Nanos, Share};
use crate::CircuitMode;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    /// The mode that it begins with. A reload may change it.
    pub(crate) mode: CircuitMode,
    pub(crate) trip: Trip,
    pub(crate) slow: Option<SlowRate>,
    /// The window of the failure rate and of slow calls.
    pub(crate) window: WindowSize,
    pub(crate) wait: WaitRule,
    pub(crate) success_threshold: u32,
    pub(crate) max_concurrent_probes: u32,
    pub(crate) probe_lease: Nanos,
    pub(crate) ramp: RampRule,
    /// How many threads can count in a time window without waiting for one another.
    pub(crate) stripes: usize,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Trip {
    /// This many failures without a success in between.
    Consecutive { failures: u32 },
    /// This share of the calls in the window, if there are at least `min_calls`.
    FailureRate { share: Share, min_calls: u32 },
    /// Either.
    Either { failures: u32, share: Share, min_calls: u32 },
}

impl Trip {
    /// How many failures in a row open the circuit.
    pub(crate) const fn in_a_row(self) -> Option<u32> {
        match self {
            Self::Consecutive { failures } | Self::Either { failures, .. } => Some(failures),
            Self::FailureRate { .. } => None,
        }
    }

    /// Which share of failures opens the circuit, and among how many calls at least.
    pub(crate) const fn rate(self) -> Option<(Share, u32)> {
        match self {
            Self::FailureRate { share, min_calls } | Self::Either { share, min_calls, .. } => Some((share, min_calls)),
            Self::Consecutive { .. } => None,
        }
    }
}

/// The steps between the last probe and a closed circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RampRule {
    /// The share of calls that each step admits, in units of 2⁻³². Zero after the last one.
    shares: [u32; MAX_STEPS],
    /// How long a step lasts.
    pub(crate) each: Nanos,
}

/// How many steps a ramp may have.
pub(crate) const MAX_STEPS: usize = 8;

impl RampRule {
    /// The circuit closes at once.
    pub(crate) const NONE: Self = Self { shares: [0; MAX_STEPS], each: 0 };

    /// At most [`MAX_STEPS`] shares, each between 0.000001 and 0.999999.
    pub(crate) fn new(shares: &[f64], each: Nanos) -> Self {
        let mut rule = Self { each, ..Self::NONE };
        for (units, share) in rule.shares.iter_mut().zip(shares) {
            *units = (share * (1_u64 << 32) as f64).round() as u32;
        }
        rule
    }

    /// `None` if there are fewer steps.
    pub(super) fn share(&self, step: usize) -> Option<u32> {
        self.shares.get(step).copied().filter(|share| *share > 0)
    }
}

/// The size of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowSize {
    Calls(u32),
    Time(Nanos),
}

/// When slow calls open the circuit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SlowRate {
    pub(crate) share: Share,
    pub(crate) min_calls: u32,
}

/// A wait that doubles with every failed recovery, up to a maximum, and its jitter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct WaitRule {
    pub(crate) first: Nanos,
    /// Equal to `first` if the wait is fixed.
    pub(crate) max: Nanos,
    /// The share of a wait that jitter adds at most, 0 to 1.
    pub(crate) jitter: f64,
    pub(crate) seed: Option<u64>,
}

impl WaitRule {
    pub(crate) const fn fixed(wait: Nanos) -> Self {
        Self { first: wait, max: wait, jitter: 0.0, seed: None }
    }
}
