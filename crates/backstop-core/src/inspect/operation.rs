//! What an operator can do to a layer, and asks it to do.

use std::{error::Error, fmt, pin::Pin, time::Duration};

use super::Value;
use crate::ConfigError;

/// An operation that a layer offers to operators: see [`Inspect::operations`](super::Inspect::operations).
///
/// ```
/// use backstop_core::Operation;
///
/// const OPERATIONS: &[Operation] = &[
///     Operation::once("reset"),
///     Operation::until("isolate", "reset"),
///     Operation::limited("pin").arguments(&[("level", "healthy, degraded or critical")]),
/// ];
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// Its name, a lower-case token: `isolate`.
    pub name: &'static str,
    /// How long its effect lasts.
    pub lasts: Lasts,
    /// Its arguments: the name of each, and what is allowed.
    pub arguments: &'static [(&'static str, &'static str)],
}

/// How long the effect of an [`Operation`] lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Lasts {
    /// It has no lasting effect that could be ended: `clear`.
    Once,
    /// The layer ends it after [`OperationRequest::time`].
    Limited,
    /// Until the operation of this name. Whoever passes on a request with a time must run that operation after it.
    Until(&'static str),
}

impl Operation {
    /// An operation without an effect that could be ended.
    #[must_use]
    pub const fn once(name: &'static str) -> Self {
        Self { name, lasts: Lasts::Once, arguments: &[] }
    }

    /// An operation that the layer ends by itself after [`OperationRequest::time`].
    #[must_use]
    pub const fn limited(name: &'static str) -> Self {
        Self { name, lasts: Lasts::Limited, arguments: &[] }
    }

    /// An operation whose effect lasts until the operation `end` runs.
    #[must_use]
    pub const fn until(name: &'static str, end: &'static str) -> Self {
        Self { name, lasts: Lasts::Until(end), arguments: &[] }
    }

    /// Sets its arguments: the name of each, and what is allowed.
    #[must_use]
    pub const fn arguments(mut self, arguments: &'static [(&'static str, &'static str)]) -> Self {
        self.arguments = arguments;
        self
    }
}

/// A request to run an [`Operation`]: who asks for it and why, for how long, and with which arguments.
///
/// ```
/// use std::time::Duration;
/// use backstop_core::{OperationRequest, Value};
///
/// let request = OperationRequest::new("force", "ada", "exercise the cache")
///     .lasting(Duration::from_secs(600))
///     .with("share", 0.01);
/// assert_eq!(request.argument("share"), Some(&Value::Number(0.01)));
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct OperationRequest {
    name: String,
    who: String,
    reason: String,
    time: Option<Duration>,
    arguments: Vec<(String, Value)>,
}

impl OperationRequest {
    /// Asks for the operation `name`. `who` asks for it, and why: both are shown and logged.
    #[must_use]
    pub fn new(name: impl Into<String>, who: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), who: who.into(), reason: reason.into(), time: None, arguments: Vec::new() }
    }

    /// How long its effect shall last. The layer ends a [`Limited`](Lasts::Limited) one itself. To one that lasts
    /// [`Until`](Lasts::Until) another operation, whoever runs it must do that.
    #[must_use]
    pub const fn lasting(mut self, time: Duration) -> Self {
        self.time = Some(time);
        self
    }

    /// Adds an argument.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.arguments.push((name.into(), value.into()));
        self
    }

    /// The operation's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Who asks for it.
    #[must_use]
    pub fn who(&self) -> &str {
        &self.who
    }

    /// Why.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// How long its effect shall last, if that was said.
    #[must_use]
    pub const fn time(&self) -> Option<Duration> {
        self.time
    }

    /// The argument `name`.
    #[must_use]
    pub fn argument(&self, name: &str) -> Option<&Value> {
        self.arguments().find(|(argument, _)| *argument == name).map(|(_, value)| value)
    }

    /// All arguments.
    pub fn arguments(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.arguments.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The argument `name`, which must be text. `allowed` says in the error what else it must be.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn text(&self, name: &'static str, allowed: &'static str) -> Result<&str, ConfigError> {
        match self.argument(name) {
            Some(Value::Text(text)) => Ok(text),
            other => Err(wrong(name, other, allowed)),
        }
    }

    /// The argument `name`, which must be a number. `allowed` says in the error what else it must be.
    ///
    /// # Errors
    /// If it is missing or something else.
    pub fn number(&self, name: &'static str, allowed: &'static str) -> Result<f64, ConfigError> {
        match self.argument(name) {
            Some(Value::Number(number)) => Ok(*number),
            #[expect(clippy::cast_precision_loss, reason = "exact up to 2^53")]
            Some(Value::Integer(number)) => Ok(*number as f64),
            other => Err(wrong(name, other, allowed)),
        }
    }

    /// The error for an operation that isn't one of `operations`.
    #[must_use]
    pub fn unknown(&self, operations: &[Operation]) -> OperationError {
        let names: Vec<_> = operations.iter().map(|operation| operation.name).collect();
        let allowed = if names.is_empty() { "none: this layer has no operations".to_owned() } else { names.join(", ") };
        ConfigError::new("operation", self.name.clone(), allowed).into()
    }
}

fn wrong(name: &'static str, value: Option<&Value>, allowed: &'static str) -> ConfigError {
    ConfigError::new(name, value.map_or_else(|| "missing".to_owned(), |value| format!("{value:?}")), allowed)
}

/// Which instances of a service an operator's change reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reach {
    /// This one.
    Instance,
    /// All that share a store. This one follows the change at once, the others when they read the store.
    Fleet,
}

impl Reach {
    /// As it is shown to operators: `instance`, `fleet`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Instance => "instance",
            Self::Fleet => "fleet",
        }
    }
}

/// Why an operation wasn't run.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OperationError {
    /// The request is wrong, or not allowed in the present state.
    Invalid(ConfigError),
    /// A store that the operation needs failed. The operation may have run nevertheless.
    Unavailable(String),
}

impl From<ConfigError> for OperationError {
    fn from(error: ConfigError) -> Self {
        Self::Invalid(error)
    }
}

impl fmt::Display for OperationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Unavailable(text) => write!(f, "the store failed: {text}"),
        }
    }
}

impl Error for OperationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            Self::Unavailable(_) => None,
        }
    }
}

/// The future of [`Inspect::operate`](super::Inspect::operate).
pub type OperationFuture<'a> = Pin<Box<dyn Future<Output = Result<Reach, OperationError>> + Send + 'a>>;
