//! The choices of a configuration.

use std::time::Duration;

/// How a dropped call is counted, if neither a time limit nor a panic explains the drop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum OnDrop {
    /// As a failure if it was pending for this long, 1 ms to 24 h; else as neutral. A caller that leaves early says
    /// nothing about the service. A call that was pending for long probably hung.
    FailureAfter(#[cfg_attr(feature = "serde", serde(with = "humantime_serde"))] Duration),
    /// As neutral.
    Ignore,
    /// As a failure.
    Failure,
}

/// How far a rate looks back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Window {
    /// Exactly this many of the last calls, regardless of their age: 1 to 65,536. For irregular traffic: a call is
    /// remembered until enough others have followed.
    Calls(u32),
    /// The calls that ended within this time: 1 s to 24 h.
    ///
    /// For steady traffic, and if old failures should be forgotten. The time is split into sixteenths: a result counts
    /// for at least 15/16 of it, and at most all of it. When one thread counts more than 65,535 successes or failures
    /// in a sixteenth, both of its numbers are halved, so the share stays the same. A call's cost doesn't depend on the
    /// number of calls.
    Time(Duration),
}

/// That many calls.
impl From<u32> for Window {
    fn from(calls: u32) -> Self {
        Self::Calls(calls)
    }
}

/// So much time.
impl From<Duration> for Window {
    fn from(time: Duration) -> Self {
        Self::Time(time)
    }
}

/// How long a circuit stays open before it lets a probe through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Wait {
    /// Always this long: 1 ms to 24 h.
    Fixed(Duration),
    /// Twice as long after each recovery that failed, that is, after each probe that opened the circuit again. A circuit
    /// that closes starts over.
    Growing {
        /// The first wait: 1 ms to 24 h.
        first: Duration,
        /// The longest: `first` to 24 h.
        max: Duration,
    },
}

/// A fixed wait.
impl From<Duration> for Wait {
    fn from(wait: Duration) -> Self {
        Self::Fixed(wait)
    }
}

/// When slow calls open the circuit.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Deserialize, serde::Serialize), serde(deny_unknown_fields))]
#[non_exhaustive]
pub struct SlowCalls {
    /// A call that takes this long or longer is slow: 1 ms to 24 h.
    #[cfg_attr(feature = "serde", serde(with = "humantime_serde"))]
    pub threshold: Duration,
    /// The share of slow calls that opens the circuit: 0.000001 to 1.
    pub share: f64,
}

impl SlowCalls {
    /// Opens when `share` of the calls took `threshold` or longer.
    #[must_use]
    pub const fn new(threshold: Duration, share: f64) -> Self {
        Self { threshold, share }
    }
}
