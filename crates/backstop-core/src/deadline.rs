//! The moment after which nobody waits any more, and how long that is from a moment that is yet to come.

use std::{fmt, num::NonZero, sync::LazyLock, time::Duration};

use tokio::time::Instant;

/// The moment after which nobody waits any more, and who set it.
///
/// It narrows as it goes inward: see [`scope`](crate::scope).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Nanoseconds, and in the lowest bit who set it: one word, because every layer moves it about on every poll, and
    /// ordered: the lesser one binds.
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

/// A moment in the middle of what deadlines can express: clocks that are paused are behind it, or years ahead.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const ORIGIN_NANOS: u64 = EARLIEST_NANOS.midpoint(LATEST_NANOS);

/// No deadline is earlier, so that each is greater than any [`Limit`], by its bits.
const EARLIEST_NANOS: u64 = 1 << 61;
/// None is later, so that a few words are left that are no deadlines.
const LATEST_NANOS: u64 = (u64::MAX >> 1) - 1;

impl Deadline {
    /// At this moment.
    #[must_use]
    pub fn at(at: Instant, set_by: SetBy) -> Self {
        Self::at_nanos(since_origin(at), set_by)
    }

    /// When `limit` has passed from now on. A limit of over 30 years is 30 years.
    #[must_use]
    pub fn after(limit: Duration, set_by: SetBy) -> Self {
        Self::at_nanos(Moment::now().nanos.saturating_add(nanos(limit.min(FAR))), set_by)
    }

    fn at_nanos(nanos: u64, set_by: SetBy) -> Self {
        Self { bits: bits(nanos.clamp(EARLIEST_NANOS, LATEST_NANOS), set_by) }
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
        set_by(self.bits)
    }

    /// The time that is left; zero when it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_nanos((self.bits.get() >> 1).saturating_sub(Moment::now().nanos))
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

/// How long something may take, and who says so: a [`Deadline`] whose time hasn't begun.
///
/// It begins when somebody first has to wait: see [`scope`](crate::scope#when-time-begins).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds, and in the lowest bit who set it: as in a deadline.
    bits: NonZero<u64>,
}

impl Limit {
    /// A limit of over 30 years is 30 years; none is shorter than 1 ns.
    #[must_use]
    #[inline]
    pub fn new(limit: Duration, set_by: SetBy) -> Self {
        Self::of_nanos(nanos(limit.min(FAR)), set_by)
    }

    #[inline]
    fn of_nanos(nanos: u64, set_by: SetBy) -> Self {
        Self { bits: bits(nanos.max(1), set_by) }
    }

    /// The first of so many equal parts.
    #[must_use]
    #[inline]
    pub fn first_of(&self, parts: NonZero<u32>) -> Self {
        Self::of_nanos((self.bits.get() >> 1) / u64::from(parts.get()), self.set_by())
    }

    /// Whose limit it is.
    #[must_use]
    #[inline]
    pub const fn set_by(&self) -> SetBy {
        set_by(self.bits)
    }

    /// The shorter of the two. Where they are equal it is ours: a caller's limit that isn't shorter excuses nothing.
    #[must_use]
    #[inline]
    pub fn narrowed_by(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other.bits < self.bits => other,
            _ => self,
        }
    }

    /// Its end, if its time begins at `moment`.
    pub(crate) fn from(self, moment: Moment) -> Deadline {
        Deadline::at_nanos(moment.nanos.saturating_add(self.bits.get() >> 1), self.set_by())
    }
}

/// How much time a scope has, in one word, since every poll of every layer puts another one in place:
///
/// | the word | means |
/// |---|---|
/// | up to 2⁶² | a limit whose time hasn't begun |
/// | above that | a deadline |
/// | the last but one | no end |
/// | the last one | no scope |
///
/// Of two of the same kind the lesser one binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Time {
    bits: NonZero<u64>,
}

impl Time {
    pub(crate) const NO_SCOPE: Self = Self { bits: NonZero::<u64>::MAX };
    pub(crate) const ENDLESS: Self = Self { bits: NonZero::new(u64::MAX - 1).unwrap() };
    const FIRST_DEADLINE: u64 = EARLIEST_NANOS << 1;

    pub(crate) const fn limited(limit: Limit) -> Self {
        Self { bits: limit.bits }
    }

    pub(crate) const fn until(deadline: Deadline) -> Self {
        Self { bits: deadline.bits }
    }

    pub(crate) const fn is_limit(self) -> bool {
        self.bits.get() < Self::FIRST_DEADLINE
    }

    pub(crate) fn limit(self) -> Option<Limit> {
        self.is_limit().then_some(Limit { bits: self.bits })
    }

    pub(crate) fn deadline(self) -> Option<Deadline> {
        let is_deadline = !self.is_limit() && self < Self::ENDLESS;
        is_deadline.then_some(Deadline { bits: self.bits })
    }

    /// What it is once time has begun at `moment`.
    pub(crate) fn begun_at(self, moment: Moment) -> Self {
        self.limit().map_or(self, |limit| Self::until(limit.from(moment)))
    }
}

/// A moment, as deadlines count.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    nanos: u64,
}

impl Moment {
    /// No moment at all.
    pub(crate) const NONE: Self = Self { nanos: 0 };

    pub(crate) fn now() -> Self {
        Self { nanos: since_origin(Instant::now()) }
    }
}

fn bits(nanos: u64, set_by: SetBy) -> NonZero<u64> {
    let bits = nanos << 1 | u64::from(set_by == SetBy::Caller);
    NonZero::new(bits).unwrap_or(NonZero::<u64>::MAX)
}

const fn set_by(bits: NonZero<u64>) -> SetBy {
    if bits.get() & 1 == 0 { SetBy::Us } else { SetBy::Caller }
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
    async fn the_shorter_limit_binds_and_a_tie_is_ours() {
        let limit = |ms, set_by| Limit::new(Duration::from_millis(ms), set_by);
        let ours = limit(100, SetBy::Us);
        assert_eq!(ours.narrowed_by(None), ours);
        assert_eq!(ours.narrowed_by(Some(limit(99, SetBy::Caller))).set_by(), SetBy::Caller);
        assert_eq!(limit(100, SetBy::Caller).narrowed_by(Some(ours)).set_by(), SetBy::Us);
        assert_eq!(limit(100, SetBy::Caller).first_of(NonZero::new(4).unwrap()), limit(25, SetBy::Caller));
        let none = Limit::new(Duration::ZERO, SetBy::Caller);
        assert_eq!(none.first_of(NonZero::<u32>::MAX), Limit::new(Duration::from_nanos(1), SetBy::Caller));
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_ends_as_long_after_its_beginning_as_it_is() {
        for set_by in [SetBy::Us, SetBy::Caller] {
            let limit = Duration::from_millis(70);
            assert_eq!(Limit::new(limit, set_by).from(Moment::now()), Deadline::after(limit, set_by));
        }
        assert_eq!(size_of::<Option<Limit>>(), 8);
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
