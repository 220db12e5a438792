//! What is known of a component.

use std::fmt;

use backstop_core::Level;

/// The state of a component: a [`Level`], or unknown. Ordered: greater is worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ComponentState {
    /// It works.
    Healthy,
    /// Nobody can say: there was no result yet, or the last one is too old.
    Unknown,
    /// It serves less than it should.
    Degraded,
    /// It can't do its job.
    Critical,
}

impl ComponentState {
    /// As it is written in logs and answers: `healthy`, `unknown`, `degraded`, `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Unknown => "unknown",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }

    /// Whether it is degraded or critical.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::Degraded | Self::Critical)
    }

    /// The level that it counts as.
    pub(crate) const fn counted(self, if_unknown: Level) -> Level {
        match self {
            Self::Healthy => Level::Healthy,
            Self::Unknown => if_unknown,
            Self::Degraded => Level::Degraded,
            Self::Critical => Level::Critical,
        }
    }

    pub(crate) const fn from_bits(bits: u8) -> Self {
        match bits {
            0 => Self::Healthy,
            1 => Self::Unknown,
            2 => Self::Degraded,
            _ => Self::Critical,
        }
    }
}

impl From<Level> for ComponentState {
    fn from(level: Level) -> Self {
        match level {
            Level::Healthy => Self::Healthy,
            Level::Degraded => Self::Degraded,
            // A level that doesn't exist yet is not taken for a good one.
            _ => Self::Critical,
        }
    }
}

impl fmt::Display for ComponentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A level from its bits, which are those of [`level_bits`].
pub(crate) const fn level_from_bits(bits: u8) -> Level {
    match bits {
        0 => Level::Healthy,
        1 => Level::Degraded,
        _ => Level::Critical,
    }
}

pub(crate) const fn level_bits(level: Level) -> u8 {
    match level {
        Level::Healthy => 0,
        Level::Degraded => 1,
        _ => 2,
    }
}

/// Whether the instance should get requests: see [`Health::readiness`](crate::Health::readiness).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Readiness {
    /// It should get requests.
    Ready,
    /// It has just started, and knows too little yet.
    Starting,
    /// A component that is [local](crate::Component::local) to this instance is critical.
    LocalCritical,
    /// It is about to stop.
    Draining,
}

impl Readiness {
    /// As it is written in logs and answers: `ready`, `starting`, `local-critical`, `draining`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Starting => "starting",
            Self::LocalCritical => "local-critical",
            Self::Draining => "draining",
        }
    }

    /// Whether it is [`Ready`](Self::Ready).
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
