//! What a finished attempt counts as.

use std::time::Duration;

/// What a finished attempt counts as, in every layer: the answer of [`Classify`](crate::Classify).
///
/// ```
/// use backstop_core::{Outcome, Verdict};
///
/// let refused = Outcome::failure().transient().unprocessed();
/// assert_eq!(refused.verdict, Verdict::Failure);
/// assert!(refused.unprocessed);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// What a circuit breaker counts it as.
    pub verdict: Verdict,
    /// Whether the same request may succeed in a moment.
    pub transient: bool,
    /// Whether the request was certainly not processed, so that repeating it is safe whatever its method.
    ///
    /// Layers trust a classifier that sets this. [`HttpClassify`](crate::HttpClassify) never sets it: a result alone
    /// proves nothing, and layers get proof in another way.
    pub unprocessed: bool,
    /// When the server asked to be called again.
    pub pushback: Option<Pushback>,
    /// What the caller did wrong, if the caller is to blame.
    pub blame: Option<Blame>,
    /// Whether a layer refused the call before it asked the service.
    pub refused: bool,
    /// Whether a fallback passes this on to the caller, and asks no further provider.
    pub ends_chain: bool,
}

/// What an attempt says about the health of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Verdict {
    /// The service works.
    Success,
    /// Nothing.
    Neutral,
    /// The service failed.
    Failure,
}

/// When a server asks to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pushback {
    /// Not before this has passed.
    After(Duration),
    /// Not at all (gRPC's negative pushback).
    Stop,
}

/// What a caller did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Blame {
    /// The request. From the primary, that is an answer. From another provider, it is a miss.
    Request,
    /// The request came as TLS early data (425). If our own caller sent it that way, the response passes through to it
    /// (RFC 8470 §5.2).
    EarlyData,
}

impl Outcome {
    const fn new(verdict: Verdict) -> Self {
        Self {
            verdict,
            transient: false,
            unprocessed: false,
            pushback: None,
            blame: None,
            refused: false,
            ends_chain: false,
        }
    }

    /// The service works.
    #[must_use]
    pub const fn success() -> Self {
        Self::new(Verdict::Success)
    }

    /// The result says nothing about the service's health.
    #[must_use]
    pub const fn neutral() -> Self {
        Self::new(Verdict::Neutral)
    }

    /// The service failed. The request may have been processed, and a retry wouldn't help.
    #[must_use]
    pub const fn failure() -> Self {
        Self::new(Verdict::Failure)
    }

    /// The service works and answered, and the request is to blame: HTTP's 404, gRPC's `NOT_FOUND`.
    #[must_use]
    pub const fn callers_fault() -> Self {
        Self::success().blaming(Blame::Request)
    }

    /// A layer refused the call before it called the service. That says nothing about the service's health, and an
    /// immediate retry wouldn't help.
    #[must_use]
    pub const fn refusal() -> Self {
        Self { refused: true, ..Self::neutral() }
    }

    /// The same request may succeed in a moment.
    #[must_use]
    pub const fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// The request was certainly not processed.
    #[must_use]
    pub const fn unprocessed(mut self) -> Self {
        self.unprocessed = true;
        self
    }

    /// Marks the outcome as unprocessed if `is_unprocessed` is true; never clears the mark.
    #[must_use]
    pub const fn or_unprocessed(mut self, is_unprocessed: bool) -> Self {
        self.unprocessed |= is_unprocessed;
        self
    }

    /// Sets when the server asked to be called again.
    #[must_use]
    pub const fn pushback(mut self, pushback: Option<Pushback>) -> Self {
        self.pushback = pushback;
        self
    }

    /// Sets what the caller did wrong.
    #[must_use]
    pub const fn blaming(mut self, blame: Blame) -> Self {
        self.blame = Some(blame);
        self
    }

    /// No further provider may be asked, though this is no success.
    ///
    /// For work that may have been accepted already: doing it in another way may do it twice.
    #[must_use]
    pub const fn ending_chain(mut self) -> Self {
        self.ends_chain = true;
        self
    }

    /// Whether a fallback's primary has answered with this.
    ///
    /// A 404 from the primary is an answer. From a later provider it is a miss, see
    /// [`answers_for_another`](Self::answers_for_another). A failed request body also counts as answered: no other
    /// provider could do better.
    #[must_use]
    pub const fn answers(&self) -> bool {
        self.ends_chain
            || match self.verdict {
                Verdict::Success => true,
                Verdict::Neutral => matches!(self.blame, Some(Blame::Request)),
                Verdict::Failure => false,
            }
    }

    /// Whether another provider than the primary has answered with this.
    #[must_use]
    pub const fn answers_for_another(&self) -> bool {
        self.ends_chain || (self.answers() && self.blame.is_none())
    }
}
