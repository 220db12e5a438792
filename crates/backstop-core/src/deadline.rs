//! Deadlines, and limits whose time hasn't begun.

use std::{fmt, num::NonZero, sync::LazyLock, time::Duration};

use tokio::time::Instant;

#[cfg(test)]
mod tests;
mod time;

pub(crate) use time::{Moment, Time};

/// The moment after which the caller stops waiting, and who set it.
///
/// Inner scopes can only shorten it: see [`scope`](crate::scope).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    word: Word,
}

/// Whose limit it is.
///
/// A call ended by our own limit is a failure of the service. A call ended by the caller's shorter limit says nothing
/// about the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SetBy {
    /// A layer's, by its configuration.
    Us,
    /// The caller's, sent with the request.
    Caller,
}

impl SetBy {
    /// `us` or `caller`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Caller => "caller",
        }
    }
}

impl fmt::Display for SetBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Used instead of longer durations, which an `Instant` may not be able to express.
const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// A moment in the middle of the range of deadlines, because paused clocks may be before it, or years after it.
static ORIGIN: LazyLock<Instant> = LazyLock::new(Instant::now);
const ORIGIN_NANOS: u64 = EARLIEST_NANOS.midpoint(LATEST_NANOS);

/// The earliest deadline. Greater than any [`Limit`], so that the bits tell the two apart.
const EARLIEST_NANOS: u64 = 1 << 61;
/// The latest deadline. A few greater values have other meanings.
const LATEST_NANOS: u64 = (u64::MAX >> 1) - 1;

impl Deadline {
    /// At this moment.
    #[must_use]
    pub fn at(at: Instant, set_by: SetBy) -> Self {
        Self::at_nanos(since_origin(at), set_by)
    }

    /// The moment `limit` from now. A limit of over 30 years counts as 30 years.
    #[must_use]
    pub fn after(limit: Duration, set_by: SetBy) -> Self {
        Self::at_nanos(Moment::now().nanos.saturating_add(nanos_up_to_far(limit)), set_by)
    }

    fn at_nanos(nanos: u64, set_by: SetBy) -> Self {
        Self { word: Word::new(nanos.clamp(EARLIEST_NANOS, LATEST_NANOS), set_by) }
    }

    /// Divides the time left at `now` into `parts` equal parts. Returns the end of the first, with the same setter.
    #[must_use]
    pub fn first_of(&self, parts: NonZero<u32>, now: Instant) -> Self {
        let (now, end) = (since_origin(now), self.word.nanos());
        Self::at_nanos(end.min(now) + end.saturating_sub(now) / u64::from(parts.get()), self.set_by())
    }

    /// The deadline that comes `margin` earlier, for work that must end before the caller stops waiting.
    #[must_use]
    pub fn earlier_by(&self, margin: Duration) -> Self {
        Self::at_nanos(self.word.nanos().saturating_sub(nanos(margin)), self.set_by())
    }

    /// The moment.
    #[must_use]
    pub fn instant(&self) -> Instant {
        let nanos = self.word.nanos();
        let origin = *ORIGIN;
        match nanos.checked_sub(ORIGIN_NANOS) {
            Some(after) => origin + Duration::from_nanos(after),
            None => origin - Duration::from_nanos(ORIGIN_NANOS - nanos),
        }
    }

    /// Whose limit it is.
    #[must_use]
    pub const fn set_by(&self) -> SetBy {
        self.word.set_by()
    }

    /// The time left. Zero if it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        Duration::from_nanos(self.word.nanos().saturating_sub(Moment::now().nanos))
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(&self) -> bool {
        self.left().is_zero()
    }

    /// The earlier of the two. If both are equal, the one set by us: a caller's limit matters only if it is shorter.
    #[must_use]
    #[inline]
    pub fn narrowed_by(self, other: Option<Self>) -> Self {
        other.filter(|other| other.word < self.word).unwrap_or(self)
    }
}

/// How long something may take, and who set it: a [`Deadline`] whose time hasn't begun.
///
/// It begins when the call is first pending: see [`scope`](crate::scope#when-time-begins).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    word: Word,
}

impl Limit {
    /// A limit of 1 ns to 30 years. Shorter and longer ones count as these.
    #[must_use]
    #[inline]
    pub fn new(limit: Duration, set_by: SetBy) -> Self {
        Self::of_nanos(nanos_up_to_far(limit), set_by)
    }

    #[inline]
    fn of_nanos(nanos: u64, set_by: SetBy) -> Self {
        Self { word: Word::new(nanos.max(1), set_by) }
    }

    /// Divides the limit into `parts` equal parts. Returns the first.
    #[must_use]
    #[inline]
    pub fn first_of(&self, parts: NonZero<u32>) -> Self {
        Self::of_nanos(self.word.nanos() / u64::from(parts.get()), self.set_by())
    }

    /// The limit that ends `margin` earlier, for work that must end before the caller stops waiting. At least 1 ns.
    #[must_use]
    pub fn shortened_by(&self, margin: Duration) -> Self {
        Self::of_nanos(self.word.nanos().saturating_sub(nanos(margin)), self.set_by())
    }

    /// Whose limit it is.
    #[must_use]
    #[inline]
    pub const fn set_by(&self) -> SetBy {
        self.word.set_by()
    }

    /// The shorter of the two. If both are equal, the one set by us: a caller's limit matters only if it is shorter.
    #[must_use]
    #[inline]
    pub fn narrowed_by(self, other: Option<Self>) -> Self {
        other.filter(|other| other.word < self.word).unwrap_or(self)
    }

    /// Its deadline, if its time begins at `moment`.
    pub(crate) fn begun_at(self, moment: Moment) -> Deadline {
        Deadline::at_nanos(moment.nanos.saturating_add(self.word.nanos()), self.set_by())
    }
}

/// Nanoseconds, with the setter in the lowest bit. One word, because every layer moves it on every poll. The lesser of two
/// applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Word(NonZero<u64>);

impl Word {
    #[inline]
    fn new(nanos: u64, set_by: SetBy) -> Self {
        let bits = nanos << 1 | u64::from(set_by == SetBy::Caller);
        Self(NonZero::new(bits).unwrap_or(NonZero::<u64>::MAX))
    }

    #[inline]
    const fn nanos(self) -> u64 {
        self.0.get() >> 1
    }

    #[inline]
    const fn set_by(self) -> SetBy {
        if self.0.get() & 1 == 0 { SetBy::Us } else { SetBy::Caller }
    }
}

fn since_origin(at: Instant) -> u64 {
    let origin = *ORIGIN;
    match at.checked_duration_since(origin) {
        Some(after) => ORIGIN_NANOS.saturating_add(nanos(after)),
        None => ORIGIN_NANOS.saturating_sub(nanos(origin.duration_since(at))),
    }
}

/// A duration over [`FAR`] counts as that. Inlined, because layers work out a limit for each call.
#[inline]
const fn nanos_up_to_far(duration: Duration) -> u64 {
    let limit = if duration.as_secs() < FAR.as_secs() { duration } else { FAR };
    limit.as_secs() * NANOS_PER_SEC + limit.subsec_nanos() as u64
}

/// More than 584 years count as 584.
fn nanos(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(NANOS_PER_SEC).saturating_add(u64::from(duration.subsec_nanos()))
}

impl fmt::Debug for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deadline").field("at", &self.instant()).field("set_by", &self.set_by()).finish()
    }
}
