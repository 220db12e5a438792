//! The moment after which nobody waits any more.

use std::time::Duration;

use tokio::time::Instant;

/// The moment after which nobody waits any more, and who set it.
///
/// It narrows as it goes inward: see [`scope`](crate::scope).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    set_by: SetBy,
}

/// Whose limit it is.
///
/// A call that our own limit ends is a failure of the service. A call that the caller's limit ends, where that is the
/// shorter one, says nothing of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SetBy {
    /// A layer's, by its configuration.
    Us,
    /// The caller's, sent with the request.
    Caller,
}

/// Stands for "never" where an instant that far can't be expressed.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl Deadline {
    /// At this moment.
    #[must_use]
    pub const fn at(at: Instant, set_by: SetBy) -> Self {
        Self { at, set_by }
    }

    /// When `limit` has passed from now on. A limit of over 30 years is 30 years.
    #[must_use]
    pub fn after(limit: Duration, set_by: SetBy) -> Self {
        Self { at: Instant::now() + limit.min(FAR), set_by }
    }

    /// The moment.
    #[must_use]
    pub const fn instant(&self) -> Instant {
        self.at
    }

    /// Whose limit it is.
    #[must_use]
    pub const fn set_by(&self) -> SetBy {
        self.set_by
    }

    /// The time that is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of the two. At the same moment it is ours: a caller's limit that isn't shorter excuses nothing.
    #[must_use]
    pub fn narrowed_by(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.at < self.at || (other.at == self.at && other.set_by == SetBy::Us) => other,
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_earlier_deadline_binds_and_a_tie_is_ours() {
        let after = |ms, set_by| Deadline::after(Duration::from_millis(ms), set_by);
        let ours = after(100, SetBy::Us);
        assert_eq!(ours.narrowed_by(None), ours);
        assert_eq!(ours.narrowed_by(Some(after(99, SetBy::Caller))).set_by(), SetBy::Caller);
        assert_eq!(ours.narrowed_by(Some(after(100, SetBy::Caller))).set_by(), SetBy::Us);
        assert_eq!(after(100, SetBy::Caller).narrowed_by(Some(ours)).set_by(), SetBy::Us);
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_limit_is_no_panic() {
        assert_eq!(Deadline::after(Duration::MAX, SetBy::Us).left(), FAR);
    }

    #[tokio::test(start_paused = true)]
    async fn it_has_passed_when_nothing_is_left() {
        let deadline = Deadline::after(Duration::from_secs(1), SetBy::Us);
        tokio::time::advance(Duration::from_millis(999)).await;
        assert!(!deadline.has_passed());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(deadline.has_passed());
        assert_eq!(deadline.left(), Duration::ZERO);
    }
}
