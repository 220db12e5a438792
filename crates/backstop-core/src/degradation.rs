//! The record of an answer that isn't the primary's fresh one.

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderName, StatusCode};

use crate::{Name, grpc::GrpcCode};

/// Which providers answered instead of the primary: `x-fallback-source`.
pub const X_FALLBACK_SOURCE: HeaderName = HeaderName::from_static("x-fallback-source");

/// How good the answer is: `x-data-freshness`, with `fresh`, `stale` or `degraded`.
pub const X_DATA_FRESHNESS: HeaderName = HeaderName::from_static("x-data-freshness");

/// The record of an answer that isn't the primary's fresh one: chain, source, position, reason, freshness.
///
/// A chain reports it in the [scope](crate::scope) and, on HTTP, leaves it on the response as an extension. Both are
/// [the same record](Degradation::is), and count once. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Degradation(Arc<Record>);

#[derive(Debug)]
struct Record {
    chain: Name,
    source: Name,
    position: usize,
    reason: Reason,
    freshness: Freshness,
}

impl Degradation {
    /// `source`, the provider at `position` in `chain`, answered, because of `reason`.
    #[must_use]
    pub fn new(chain: Name, source: Name, position: usize, reason: Reason, freshness: Freshness) -> Self {
        Self(Arc::new(Record { chain, source, position, reason, freshness }))
    }

    /// The chain that the answer came from.
    #[must_use]
    pub fn chain(&self) -> &Name {
        &self.0.chain
    }

    /// The provider that answered.
    #[must_use]
    pub fn source(&self) -> &Name {
        &self.0.source
    }

    /// The provider's position in its chain; the primary is 0.
    #[must_use]
    pub fn position(&self) -> usize {
        self.0.position
    }

    /// Why the primary didn't answer.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.0.reason
    }

    /// How good the answer is.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.0.freshness
    }

    /// Whether both are the record of one and the same event.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The same for [the same record](Self::is), and for no other while one of its clones lives: to look it up by.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// How good an answer is that another source gave. Ordered: the greater is the worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Another source, as good: a replica.
    Fresh,
    /// A stored copy of an earlier answer.
    Stale {
        /// The copy's age, where it is known.
        age: Option<Duration>,
    },
    /// Less than what was asked for.
    #[default]
    Degraded,
}

impl Freshness {
    /// A copy of this age.
    #[must_use]
    pub const fn stale(age: Duration) -> Self {
        Self::Stale { age: Some(age) }
    }

    /// As it is written in headers and logs: `fresh`, `stale`, `degraded`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh => "fresh",
            Self::Stale { .. } => "stale",
            Self::Degraded => "degraded",
        }
    }

    /// The copy's age, where it is one and its age is known.
    #[must_use]
    pub const fn age(self) -> Option<Duration> {
        match self {
            Self::Stale { age } => age,
            Self::Fresh | Self::Degraded => None,
        }
    }

    /// Worse comes later; among copies the older is the worse, and an unknown age is the worst.
    fn rank(self) -> (u8, Duration) {
        match self {
            Self::Fresh => (0, Duration::ZERO),
            Self::Stale { age } => (1, age.unwrap_or(Duration::MAX)),
            Self::Degraded => (2, Duration::ZERO),
        }
    }
}

impl PartialOrd for Freshness {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Freshness {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

impl fmt::Display for Freshness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why a provider didn't answer. Its text is a token that fits headers, logs and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// `circuit-open`
    CircuitOpen,
    /// `bulkhead-full`
    BulkheadFull,
    /// `timeout`: its time was up.
    Timeout,
    /// `status-503`: it answered with an HTTP status that isn't an answer here.
    Status(StatusCode),
    /// `grpc-14`: it answered with a gRPC status that isn't an answer here.
    Grpc(GrpcCode),
    /// `error`: it failed otherwise.
    Error,
    /// `body`: its answer began well, and its body broke off or was too long.
    Body,
    /// `forced`: it wasn't asked, because an operator had another provider tried.
    Forced,
    /// `all-providers-failed`: it is a chain, and none of its own providers had an answer.
    AllProvidersFailed,
    /// `not-eligible`: it wasn't asked, because it isn't for a request that may already have been processed, or for
    /// what the primary failed of.
    NotEligible,
    /// `not-replayable`: the request could not be sent again.
    NotReplayable,
    /// `request-body`: the request's own body failed or came too slowly.
    RequestBody,
    /// `revalidating`: it is being asked in the background, while a stored copy answers.
    Revalidating,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CircuitOpen => "circuit-open",
            Self::BulkheadFull => "bulkhead-full",
            Self::Timeout => "timeout",
            Self::Status(status) => return write!(f, "status-{}", status.as_u16()),
            Self::Grpc(code) => return write!(f, "grpc-{}", code.number()),
            Self::Error => "error",
            Self::Body => "body",
            Self::Forced => "forced",
            Self::AllProvidersFailed => "all-providers-failed",
            Self::NotEligible => "not-eligible",
            Self::NotReplayable => "not-replayable",
            Self::RequestBody => "request-body",
            Self::Revalidating => "revalidating",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness_worsens_in_the_order_of_the_words_and_with_age() {
        let second = Freshness::stale(Duration::from_secs(1));
        let minute = Freshness::stale(Duration::from_secs(60));
        let unknown = Freshness::Stale { age: None };
        let worsening = [Freshness::Fresh, second, minute, unknown, Freshness::Degraded];
        assert!(worsening.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn only_clones_are_the_same_record() {
        let record = || Degradation::new(crate::name!("c"), crate::name!("s"), 1, Reason::Error, Freshness::Fresh);
        let one = record();
        assert!(one.is(&one.clone()));
        assert!(!one.is(&record()));
        assert_eq!(one.id(), one.clone().id());
        assert_ne!(one.id(), record().id());
    }
}
