//! The moment after which nobody waits any more.

use std::{fmt, num::NonZero, sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// The moment after which nobody waits any more, and who set it.
///
/// It narrows as it goes inward: see [`scope`](crate::scope).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Nanoseconds since [`ORIGIN`], and in the lowest bit who set it: one word, because every layer moves it about on
    /// every poll, and ordered: the lesser one binds.
    bits: NonZero<u64>,
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

/// What deadlines are counted from. It stands in the middle of what can be expressed: clocks that are paused are behind
/// it, or years ahead.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const ORIGIN_NANOS: u64 = 1 << 62;

impl Deadline {
    /// At this moment.
    #[must_use]
    pub fn at(at: Instant, set_by: SetBy) -> Self {
        Self::at_nanos(since_origin(at), set_by)
    }

    /// When `limit` has passed from now on. A limit of over 30 years is 30 years.
    #[must_use]
    pub fn after(limit: Duration, set_by: SetBy) -> Self {
        Self::at_nanos(since_origin(Instant::now()).saturating_add(nanos(limit.min(FAR))), set_by)
    }

    fn at_nanos(nanos: u64, set_by: SetBy) -> Self {
        // The lowest bit keeps its place, however far the moment is.
        let bits = nanos.clamp(1, u64::MAX >> 1) << 1 | u64::from(set_by == SetBy::Caller);
        Self { bits: NonZero::new(bits).unwrap_or(NonZero::<u64>::MAX) }
    }

    /// The end of the first of so many equal parts of what is left at `now`, by whoever set the whole.
    #[must_use]
    pub fn first_of(&self, parts: NonZero<u32>, now: Instant) -> Self {
        let (now, end) = (since_origin(now), self.bits.get() >> 1);
        Self::at_nanos(end.min(now) + end.saturating_sub(now) / u64::from(parts.get()), self.set_by())
    }

    /// The moment.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let nanos = self.bits.get() >> 1;
        let origin = *ORIGIN;
        match nanos.checked_sub(ORIGIN_NANOS) {
            Some(after) => origin + Duration::from_nanos(after),
            None => origin - Duration::from_nanos(ORIGIN_NANOS - nanos),
        }
    }

    /// Whose limit it is.
    #[must_use]
    pub const fn set_by(&self) -> SetBy {
        if self.bits.get() & 1 == 0 { SetBy::Us } else { SetBy::Caller }
    }

    /// The time that is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.instant().saturating_duration_since(Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of the two. At the same moment it is ours: a caller's limit that isn't shorter excuses nothing.
    #[must_use]
    #[inline]
    pub fn narrowed_by(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.bits < self.bits => other,
            _ => self,
        }
    }
}

fn since_origin(at: Instant) -> u64 {
    let origin = *ORIGIN;
    match at.checked_duration_since(origin) {
        Some(after) => ORIGIN_NANOS.saturating_add(nanos(after)),
        None => ORIGIN_NANOS.saturating_sub(nanos(origin.duration_since(at))),
    }
}

/// Up to 584 years.
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(u64::from(duration.subsec_nanos()))
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("at", &self.instant()).field("set_by", &self.set_by()).finish()
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
    async fn a_moment_comes_out_as_it_went_in() {
        let now = Instant::now();
        let far = Duration::from_secs(100 * 365 * 24 * 60 * 60);
        for at in [now, now + Duration::from_nanos(1), now - Duration::from_secs(3600), now + far, now - far] {
            for set_by in [SetBy::Us, SetBy::Caller] {
                let deadline = Deadline::at(at, set_by);
                assert_eq!((deadline.instant(), deadline.set_by()), (at, set_by));
            }
        }
        assert_eq!(size_of::<Option<Deadline>>(), 8);
    }

    #[tokio::test(start_paused = true)]
    async fn of_what_is_left_the_first_part_ends_first() {
        let now = Instant::now();
        let ms = |ms| Deadline::at(now + Duration::from_millis(ms), SetBy::Caller);
        let parts = |parts| NonZero::new(parts).unwrap();
        assert_eq!(ms(800).first_of(parts(4), now), ms(200));
        assert_eq!(ms(800).first_of(parts(4), now + Duration::from_millis(400)), ms(500));
        assert_eq!(ms(800).first_of(parts(1), now), ms(800));
        assert_eq!(ms(800).first_of(parts(4), now + Duration::from_millis(900)), ms(800), "nothing is left");
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
