//! The record of an answer that isn't the primary's fresh one.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderName;

use crate::{Name, Reason};

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

    /// An identifier, equal for [the same record](Self::is), and unique while a clone of the record exists.
    #[must_use]
    pub fn id(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }
}

/// The quality of an answer from another source. Ordered: greater is worse.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
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

    /// Worse comes later. An older copy is worse, and an unknown age is the worst.
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
        let record = || Degradation::new(crate::name!("c"), crate::name!("s"), 1, Reason::ERROR, Freshness::Fresh);
        let one = record();
        assert!(one.is(&one.clone()));
        assert!(!one.is(&record()));
        assert_eq!(one.id(), one.clone().id());
        assert_ne!(one.id(), record().id());
    }
}
