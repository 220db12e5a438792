//! The record of an answer that isn't the primary's fresh one.

use std::{fmt, sync::Arc, time::Duration};

use http::HeaderName;
use tokio::time::Instant;

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
    /// The names that contain the source, outermost first.
    within: Vec<Name>,
    source: Name,
    position: usize,
    reason: Reason,
    freshness: Freshness,
    /// When it was made, if it is about a copy, which gets older.
    made: Option<Instant>,
}

impl Degradation {
    /// The most names in a [path](Self::path).
    pub const MAX_PATH: usize = 3;

    /// `source`, the provider at `position` in `chain`, answered, because of `reason`.
    #[must_use]
    pub fn new(chain: Name, source: Name, position: usize, reason: Reason, freshness: Freshness) -> Self {
        let made = freshness.age().map(|_| Instant::now());
        Self(Arc::new(Record { chain, within: Vec::new(), source, position, reason, freshness, made }))
    }

    /// A new record of the same degradation, as seen from outside `name`: a part of the answer, or an upstream service.
    ///
    /// `cached` inside `ml_service` has the [path](Self::path) `ml_service/cached`. A longer path than
    /// [`MAX_PATH`](Self::MAX_PATH) loses its innermost name.
    ///
    /// ```
    /// use backstop_core::{Degradation, Freshness, Reason, name};
    ///
    /// let cached = Degradation::new(name!("items"), name!("cached"), 1, Reason::TIMEOUT, Freshness::Degraded);
    /// assert_eq!(cached.inside(name!("ml_service")).path().to_string(), "ml_service/cached");
    /// ```
    #[must_use]
    pub fn inside(&self, name: Name) -> Self {
        let Record { chain, within, source, position, reason, freshness, made } = &*self.0;
        let mut within: Vec<_> = [name].into_iter().chain(within.iter().cloned()).collect();
        let dropped = if within.len() < Self::MAX_PATH { None } else { within.pop() };
        Self(Arc::new(Record {
            chain: chain.clone(),
            within,
            source: dropped.unwrap_or_else(|| source.clone()),
            position: *position,
            reason: *reason,
            freshness: *freshness,
            made: *made,
        }))
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

    /// The source, after the names that [contain](Self::inside) it: `ml_service/cached`.
    #[must_use]
    pub fn path(&self) -> SourcePath<'_> {
        SourcePath(&self.0)
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

    /// How good the answer was when it was made.
    #[must_use]
    pub fn freshness(&self) -> Freshness {
        self.0.freshness
    }

    /// How good the answer is by now: a stored copy gets older while the rest of a response is made.
    #[must_use]
    pub fn current_freshness(&self) -> Freshness {
        let passed = self.0.made.map(|made| made.elapsed()).unwrap_or_default();
        self.freshness().age().map_or(self.freshness(), |age| Freshness::stale(age.saturating_add(passed)))
    }

    /// Whether both are clones of one record, and so about the same event.
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

/// The path of a source: see [`Degradation::path`]. `Display` joins its names with `/`, which is a token in a header.
#[derive(Clone, Copy, Debug)]
pub struct SourcePath<'a>(&'a Record);

impl<'a> SourcePath<'a> {
    /// The names, outermost first. The source itself is the last one.
    pub fn names(self) -> impl Iterator<Item = &'a Name> {
        self.0.within.iter().chain([&self.0.source])
    }
}

impl fmt::Display for SourcePath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for name in &self.0.within {
            write!(f, "{name}/")?;
        }
        write!(f, "{}", self.0.source)
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
    fn a_path_keeps_its_outermost_names() {
        let source = Degradation::new(crate::name!("c"), crate::name!("s"), 1, Reason::ERROR, Freshness::Fresh);
        assert_eq!(source.path().to_string(), "s");
        let inside = source.inside(crate::name!("b")).inside(crate::name!("a"));
        assert_eq!((inside.path().to_string().as_str(), inside.source().as_str()), ("a/b/s", "s"));
        let deep = inside.inside(crate::name!("x"));
        assert_eq!((deep.path().to_string().as_str(), deep.source().as_str()), ("x/a/b", "b"));
        assert!(deep.path().names().eq(["x", "a", "b"].iter()));
        assert!(!deep.is(&inside));
    }

    #[tokio::test(start_paused = true)]
    async fn a_copy_gets_older_and_nothing_else_changes() {
        let minute = Duration::from_secs(60);
        for (freshness, later) in [
            (Freshness::stale(minute), Freshness::stale(2 * minute)),
            (Freshness::stale(Duration::MAX), Freshness::stale(Duration::MAX)),
            (Freshness::Stale { age: None }, Freshness::Stale { age: None }),
            (Freshness::Fresh, Freshness::Fresh),
            (Freshness::Degraded, Freshness::Degraded),
        ] {
            let record = Degradation::new(crate::name!("c"), crate::name!("s"), 1, Reason::ERROR, freshness);
            let inside = record.inside(crate::name!("b"));
            tokio::time::advance(minute).await;
            for record in [record, inside] {
                assert_eq!((record.freshness(), record.current_freshness()), (freshness, later));
            }
        }
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
