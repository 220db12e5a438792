//! How any layer, including yours, shows its state to operators.

use std::{borrow::Cow, fmt, future, time::Duration};

use crate::{Name, Reason};

mod event_log;
mod operation;

pub use event_log::{Event, EventLog};
pub use operation::{Lasts, Operation, OperationError, OperationFuture, OperationRequest, Reach};

/// The health of a component or of a whole service. Ordered: greater is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// It works.
    #[default]
    Healthy,
    /// It serves less than it should.
    Degraded,
    /// It can't do its job.
    Critical,
}

impl Level {
    /// As it is written in logs, metrics and answers: `healthy`, `degraded`, `critical`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Describes a layer and its current state. Every layer handle implements it.
///
/// An inventory lists trait objects of this trait. Reading takes no lock that a call waits for.
///
/// ```
/// use backstop_core::{Inspect, Name, Value, name};
///
/// struct Quota {
///     name: Name,
///     used: u64,
/// }
///
/// impl Inspect for Quota {
///     fn name(&self) -> &Name {
///         &self.name
///     }
///
///     fn kind(&self) -> &'static str {
///         "quota"
///     }
///
///     fn state(&self) -> Vec<(&'static str, Value)> {
///         vec![("used", self.used.into())]
///     }
/// }
///
/// let listed: Vec<Box<dyn Inspect>> = vec![Box::new(Quota { name: name!("search"), used: 7 })];
/// assert_eq!(listed[0].state(), [("used", Value::Integer(7))]);
/// ```
pub trait Inspect: Send + Sync {
    /// The layer's name.
    fn name(&self) -> &Name;

    /// What kind of layer it is, as a lower-case token: `circuit-breaker`.
    fn kind(&self) -> &'static str;

    /// The dependency that it protects. By default the layer's name.
    fn dependency(&self) -> &Name {
        self.name()
    }

    /// Its settings, named as in its configuration.
    fn settings(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// Its current state.
    fn state(&self) -> Vec<(&'static str, Value)> {
        Vec::new()
    }

    /// The operations available to an operator.
    fn operations(&self) -> &'static [Operation] {
        &[]
    }

    /// Runs an operation, and says what it reached. Who asked for it and why is in the log.
    ///
    /// # Errors
    /// [`OperationError::Invalid`] if the operation isn't one of its [`operations`](Self::operations), or an argument isn't
    /// allowed. [`OperationError::Unavailable`] if it needs a store and that failed.
    ///
    /// # Cancellation
    /// A dropped future may have run the operation.
    fn operate<'a>(&'a self, request: &'a OperationRequest) -> OperationFuture<'a> {
        Box::pin(future::ready(Err(request.unknown(self.operations()))))
    }

    /// Records its changes of state in `log` from now on. Only the first log is used; later calls have no effect.
    fn report_to(&self, _log: &EventLog) {}
}

/// A value that is shown to operators, or in a problem document.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// There is none, or it isn't limited.
    None,
    /// Yes or no.
    Bool(bool),
    /// A count.
    Integer(u64),
    /// A share, a rate.
    Number(f64),
    /// A token or a name.
    Text(Cow<'static, str>),
    /// A time.
    Duration(Duration),
    /// Several.
    List(Vec<Self>),
    /// Several, by name.
    Map(Vec<(&'static str, Self)>),
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::None, Into::into)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Integer(value)
    }
}

impl From<u32> for Value {
    fn from(value: u32) -> Self {
        Self::Integer(value.into())
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::Integer(value as u64)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Number(value)
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Duration(value)
    }
}

impl From<&'static str> for Value {
    fn from(value: &'static str) -> Self {
        Self::Text(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value.into())
    }
}

impl From<&Name> for Value {
    fn from(value: &Name) -> Self {
        Self::Text(value.as_str().to_owned().into())
    }
}

impl From<Name> for Value {
    fn from(value: Name) -> Self {
        Self::from(&value)
    }
}

impl From<Reason> for Value {
    fn from(value: Reason) -> Self {
        value.as_str().into()
    }
}

impl From<Level> for Value {
    fn from(value: Level) -> Self {
        value.as_str().into()
    }
}

impl<T: Into<Self>> FromIterator<T> for Value {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}
