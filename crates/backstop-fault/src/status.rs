//! What an operator sees, and why a run is refused or has ended.

use std::{error::Error, fmt, time::Duration};

use backstop_core::{ConfigError, Level, Name};

use crate::{FaultKind, RunId};

/// What a layer injects, and has injected: see [`FaultHandle::status`](crate::FaultHandle::status).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FaultStatus {
    /// Whether a run can be started at all.
    pub armed: bool,
    /// The run that runs.
    pub run: Option<RunStatus>,
    /// The run that has ended last.
    pub last: Option<EndedRunStatus>,
    /// The calls that are held now.
    pub held: u32,
    /// The calls that were hit since the layer was built, by kind.
    pub injected: Vec<(FaultKind, u64)>,
    /// The calls that were made as usual because too many were held.
    pub not_held: u64,
}

/// A run that runs.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunStatus {
    /// Its number.
    pub id: RunId,
    /// How calls fail.
    pub kind: FaultKind,
    /// Which calls fail, and how, in words: the fault, the method, the path, and the names of header fields.
    pub what: String,
    /// The share of the calls, or of the principals.
    pub share: f64,
    /// The seed that repeats it.
    pub seed: u64,
    /// Who started it.
    pub who: String,
    /// Why.
    pub reason: String,
    /// How long it still lasts.
    pub remaining: Duration,
    /// Within which time the next heartbeat is due.
    pub heartbeat_within: Duration,
    /// The calls that matched.
    pub calls: u64,
    /// The calls that were hit.
    pub hits: u64,
}

/// A run that has ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndedRunStatus {
    /// Its number.
    pub id: RunId,
    /// How calls failed.
    pub kind: FaultKind,
    /// Why it ended.
    pub why: Ended,
    /// The calls that matched.
    pub calls: u64,
    /// The calls that were hit.
    pub hits: u64,
    /// How long it ran.
    pub duration: Duration,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// Its time has passed.
    Until,
    /// 60 s passed without a heartbeat.
    NoHeartbeat,
    /// An operator stopped it.
    Stopped,
    /// The service's level got worse.
    Level(Level),
    /// The service drains.
    Draining,
    /// This condition was met.
    Condition(Name),
    /// A reload allows less than its share.
    Reloaded,
    /// A closure panicked that was asked for the level, the drain or a condition.
    Panicked,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Until => f.write_str("until"),
            Self::NoHeartbeat => f.write_str("no-heartbeat"),
            Self::Stopped => f.write_str("stopped"),
            Self::Level(level) => write!(f, "level-{level}"),
            Self::Draining => f.write_str("draining"),
            Self::Condition(name) => write!(f, "condition-{name}"),
            Self::Reloaded => f.write_str("reloaded"),
            Self::Panicked => f.write_str("panicked"),
        }
    }
}

/// Why a run wasn't started. Nothing has changed then.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refusal {
    /// The layer wasn't [armed](crate::FaultBuilder::arm) when it was built.
    NotArmed,
    /// The run isn't allowed.
    Invalid(ConfigError),
    /// Another run runs.
    Running(RunId),
    /// The service isn't healthy.
    Level(Level),
    /// The service drains.
    Draining,
    /// This condition, which would end the run, is met.
    Condition(Name),
    /// A closure panicked that was asked for the level, the drain or a condition.
    Panicked,
    /// A panic would end the process: it was compiled with `panic = "abort"`.
    PanicAborts,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotArmed => f.write_str("the layer wasn't armed when it was built"),
            Self::Invalid(error) => error.fmt(f),
            Self::Running(id) => write!(f, "run {id} runs"),
            Self::Level(level) => write!(f, "the service is {level}, allowed is: healthy"),
            Self::Draining => f.write_str("the service drains"),
            Self::Condition(name) => write!(f, "the condition {name} is met"),
            Self::Panicked => f.write_str("a closure panicked that says whether faults may be injected"),
            Self::PanicAborts => f.write_str("a panic would end the process"),
        }
    }
}

impl Error for Refusal {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error)
    }
}
