//! Answers that a layer makes itself.

use std::{borrow::Cow, error::Error, fmt, sync::Arc, time::Duration};

use crate::{
    Blame, ErrorRef, Name, Outcome, Pushback, Reason, SetBy,
    grpc::{self, GrpcCode},
};

/// An answer that a layer made itself, instead of the service that it wraps.
///
/// It travels as an extension of the response that was made from it, or as (the source of) an error, and tells the
/// layers further out what really happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    by: Name,
    kind: RejectionKind,
    retry_after: Option<Duration>,
}

/// Why a layer answered itself.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RejectionKind {
    /// The circuit doesn't let calls through.
    CircuitOpen(CircuitState),
    /// As many calls as are allowed are running, and as many as are allowed are waiting.
    BulkheadFull,
    /// A timeout or deadline passed.
    DeadlinePassed {
        /// Whose limit it was.
        set_by: SetBy,
        /// How far the call had come.
        progress: Progress,
    },
    /// No provider of a chain had an answer.
    AllProvidersFailed(AllProvidersFailed),
    /// The request's body could not be sent, and the caller is to blame.
    RequestBody(RequestFailure),
}

/// What was wrong with a request's body while it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RequestFailure {
    /// It ended in an error: the caller broke it off, or it was malformed.
    Broken,
    /// It was longer than a limit further out allows.
    TooLarge,
    /// It came so slowly that a call spent most of its time waiting for it.
    TooSlow,
}

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CircuitState {
    /// Calls pass and are counted.
    Closed,
    /// Calls are refused.
    Open,
    /// Probes pass, other calls are refused.
    HalfOpen,
    /// Calls are refused until an operator says otherwise.
    Isolated,
}

impl CircuitState {
    /// As it is written in logs, metrics and answers: `closed`, `open`, `half-open`, `isolated`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Isolated => "isolated",
        }
    }
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// How far a call had come when it was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Progress {
    /// The inner service was not asked for anything.
    NotAsked,
    /// The inner service was asked whether it is ready, and wasn't.
    NotReady,
    /// The inner service had the request.
    Called,
}

impl Rejection {
    /// A rejection by the layer `by`.
    #[must_use]
    pub const fn new(by: Name, kind: RejectionKind) -> Self {
        Self { by, kind, retry_after: None }
    }

    /// With the time after which another try makes sense.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// The rejection that an error is, or that caused it.
    #[must_use]
    pub fn in_error(error: ErrorRef<'_>) -> Option<Self> {
        let exhausted = || error.find::<AllProvidersFailed>().cloned().map(Self::from);
        error.find::<Self>().cloned().or_else(exhausted)
    }

    /// The rejection that a response was made from: its extension, unless the response was turned into a good one since.
    #[must_use]
    pub fn in_response<B>(response: &http::Response<B>) -> Option<&Self> {
        // Most responses have no extensions, and then this costs nothing.
        let rejection = response.extensions().get::<Self>()?;
        let is_good = response.status().as_u16() < 400
            && grpc::status_in_headers(response.headers()).is_none_or(|code| code == GrpcCode::OK);
        (!is_good).then_some(rejection)
    }

    /// The name of the layer that rejected.
    #[must_use]
    pub const fn by(&self) -> &Name {
        &self.by
    }

    /// Why it did.
    #[must_use]
    pub const fn kind(&self) -> &RejectionKind {
        &self.kind
    }

    /// Whether a time limit passed.
    #[must_use]
    pub const fn is_deadline(&self) -> bool {
        matches!(self.kind, RejectionKind::DeadlinePassed { .. })
    }

    /// The time after which another try makes sense, where it is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What it counts as in the layers further out, with the wait that it asks for.
    ///
    /// What was refused before the inner service was called says nothing of that service, and isn't worth repeating.
    /// What ended a call is a failure of that service, but where the limit was the caller's own.
    ///
    /// That the request was not processed is never said here: a response or an error that carries a rejection may come
    /// from something that did more than the call that was rejected. See [`proof`](crate::proof).
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let outcome = match &self.kind {
            RejectionKind::CircuitOpen(_) | RejectionKind::BulkheadFull => Outcome::neutral(),
            RejectionKind::DeadlinePassed { set_by, progress } => match (set_by, progress) {
                (_, Progress::NotAsked) | (SetBy::Caller, _) => Outcome::neutral(),
                (SetBy::Us, Progress::NotReady | Progress::Called) => Outcome::failure().transient(),
            },
            RejectionKind::AllProvidersFailed(all) if all.is_callers_fault() => Outcome::callers_fault(),
            RejectionKind::AllProvidersFailed(_) => Outcome::failure(),
            RejectionKind::RequestBody(_) => Outcome::neutral().blaming(Blame::Request),
        };
        outcome.pushback(self.retry_after.map(Pushback::After))
    }

    /// Why a provider that answered so didn't count.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match &self.kind {
            RejectionKind::CircuitOpen(_) => Reason::CircuitOpen,
            RejectionKind::BulkheadFull => Reason::BulkheadFull,
            RejectionKind::DeadlinePassed { .. } => Reason::Timeout,
            RejectionKind::AllProvidersFailed(_) => Reason::AllProvidersFailed,
            RejectionKind::RequestBody(_) => Reason::RequestBody,
        }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let by = &self.by;
        match &self.kind {
            RejectionKind::CircuitOpen(state) => write!(f, "circuit {by} is {state}"),
            RejectionKind::BulkheadFull => write!(f, "bulkhead {by} is full"),
            RejectionKind::DeadlinePassed { progress: Progress::NotReady, .. } => {
                write!(f, "{by} was not ready in time")
            }
            RejectionKind::DeadlinePassed { .. } => write!(f, "{by} took too long"),
            RejectionKind::AllProvidersFailed(all) => fmt::Display::fmt(all, f),
            RejectionKind::RequestBody(RequestFailure::Broken) => write!(f, "the request to {by} broke off"),
            RejectionKind::RequestBody(RequestFailure::TooLarge) => write!(f, "the request to {by} is too large"),
            RejectionKind::RequestBody(RequestFailure::TooSlow) => write!(f, "the request to {by} came too slowly"),
        }
    }
}

impl Error for Rejection {}

/// No provider of a chain had an answer: each with the reason why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllProvidersFailed(Arc<Exhaustion>);

#[derive(Debug, PartialEq, Eq)]
struct Exhaustion {
    chain: Name,
    failures: Vec<ProviderFailure>,
    retry_after: Option<Duration>,
    is_callers_fault: bool,
}

/// Why one provider didn't answer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderFailure {
    /// The provider.
    pub provider: Name,
    /// Why it didn't answer.
    pub reason: Reason,
    /// The text of its error, or what would have let it answer. For logs and handlers: no response carries it.
    pub error: Option<Cow<'static, str>>,
}

impl ProviderFailure {
    /// A provider, and why it didn't answer.
    #[must_use]
    pub const fn new(provider: Name, reason: Reason) -> Self {
        Self { provider, reason, error: None }
    }

    /// With the text of its error.
    #[must_use]
    pub fn with_error(mut self, error: Option<impl Into<Cow<'static, str>>>) -> Self {
        self.error = error.map(Into::into);
        self
    }
}

impl AllProvidersFailed {
    /// The exhaustion of `chain`; `retry_after` is the smallest wait known of its providers.
    #[must_use]
    pub fn new(chain: Name, failures: Vec<ProviderFailure>, retry_after: Option<Duration>) -> Self {
        Self(Arc::new(Exhaustion { chain, failures, retry_after, is_callers_fault: false }))
    }

    /// The answer of a chain whose first provider failed with an error that blames the request: `failures` holds that alone.
    #[must_use]
    pub fn of_callers_fault(chain: Name, failures: Vec<ProviderFailure>) -> Self {
        Self(Arc::new(Exhaustion { chain, failures, retry_after: None, is_callers_fault: true }))
    }

    /// Whether the request is to blame, as the first provider's error says: that error is the answer, and nobody else was
    /// asked. A handler makes a 404 of it, or whatever fits; as a response of its own it is a 400.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        self.0.is_callers_fault
    }

    /// The name of the chain.
    #[must_use]
    pub fn chain(&self) -> &Name {
        &self.0.chain
    }

    /// Each provider in order, and why it didn't answer.
    #[must_use]
    pub fn failures(&self) -> &[ProviderFailure] {
        &self.0.failures
    }

    /// The smallest wait known of the providers.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for AllProvidersFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_callers_fault() {
            write!(f, "the request to {} is to blame:", self.0.chain)?;
        } else {
            write!(f, "all providers of {} failed:", self.0.chain)?;
        }
        for (i, ProviderFailure { provider, reason, .. }) in self.0.failures.iter().enumerate() {
            write!(f, "{} {provider} ({reason})", if i == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Error for AllProvidersFailed {}

impl From<AllProvidersFailed> for Rejection {
    fn from(failed: AllProvidersFailed) -> Self {
        let wait = failed.retry_after();
        Self::new(failed.chain().clone(), RejectionKind::AllProvidersFailed(failed)).with_retry_after(wait)
    }
}
