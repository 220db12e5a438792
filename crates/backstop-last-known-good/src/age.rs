//! How old an answer is (RFC 9111 §4.2.3).

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use backstop_core::http_date;
use http::{
    HeaderValue,
    header::{AGE, DATE, EXPIRES},
};
use tokio::time::Instant;

use crate::{
    cache_control::{CacheControl, delta_seconds},
    headers::IndexedHeaders,
};

#[expect(clippy::disallowed_types, reason = "dates are in wall-clock time, and stores outlive a process")]
type Wall = std::time::SystemTime;

/// Milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Timestamp(pub(crate) u64);

impl Timestamp {
    fn of(wall: Wall) -> Self {
        Self(millis(wall.duration_since(Wall::UNIX_EPOCH).unwrap_or_default()))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    fn before(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }

    /// The time as a `Date` field.
    pub(crate) fn http_date(self) -> Option<HeaderValue> {
        // `httpdate` knows no year beyond 9999.
        const LAST: u64 = 253_402_300_799_000;
        let wall = Wall::UNIX_EPOCH + Duration::from_millis(self.0.min(LAST));
        HeaderValue::try_from(httpdate::fmt_http_date(wall)).ok()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// When a response arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    pub(crate) at: Timestamp,
    /// By the wall clock, to compare with `Date`.
    pub(crate) date: Timestamp,
}

/// Differences between the two clocks up to this many milliseconds are ignored: they aren't read at the same instant, and the
/// wall clock is slewed. Ages are in whole seconds.
const MAX_DRIFT: u64 = 1000;

/// A clock that never goes back and doesn't stop while the machine sleeps.
///
/// The wall clock may be set back, and the monotonic clock may stop during sleep. This clock follows the monotonic one, and is
/// advanced whenever the wall clock is ahead of it. So the time between two readings may be too long if the wall clock was
/// set forward, and is too short by at most [`MAX_DRIFT`].
#[derive(Debug)]
pub(crate) struct Clock {
    steady: Instant,
    /// The wall clock at that instant.
    wall: Timestamp,
    /// How far this clock was advanced, in milliseconds.
    ahead: AtomicU64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { steady: Instant::now(), wall: wall_clock(), ahead: AtomicU64::new(0) }
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.moment(wall_clock())
    }

    /// A cheaper reading, without the wall clock. It may lag behind a step of the wall clock. For the start of a request: the
    /// answer then counts as older, never as younger.
    pub(crate) fn now_estimate(&self) -> Timestamp {
        let steady = self.wall.0.saturating_add(millis(self.steady.elapsed()));
        Timestamp(steady.saturating_add(self.ahead.load(Ordering::Relaxed)))
    }

    pub(crate) fn arrival(&self) -> Arrival {
        let date = wall_clock();
        Arrival { at: self.moment(date), date }
    }

    fn moment(&self, wall: Timestamp) -> Timestamp {
        let steady = self.wall.0.saturating_add(millis(self.steady.elapsed()));
        let ahead = wall.0.saturating_sub(steady);
        // Usually the clocks agree, and nothing is written.
        let known = self.ahead.load(Ordering::Relaxed);
        let ahead = if ahead > known.saturating_add(MAX_DRIFT) {
            self.ahead.fetch_max(ahead, Ordering::Relaxed).max(ahead)
        } else {
            known
        };
        Timestamp(steady.saturating_add(ahead))
    }
}

fn wall_clock() -> Timestamp {
    #[cfg(test)]
    return Timestamp(Timestamp::of(Wall::now()).0 + machine::SLEPT.get());
    #[cfg(not(test))]
    Timestamp::of(Wall::now())
}

/// Simulates a sleeping machine in tests: this thread's wall clock advances, the monotonic clock doesn't.
#[cfg(test)]
pub(crate) mod machine {
    use std::{cell::Cell, time::Duration};

    thread_local! {
        pub(super) static SLEPT: Cell<u64> = const { Cell::new(0) };
    }

    pub(crate) fn sleep(time: Duration) {
        SLEPT.set(SLEPT.get() + super::millis(time));
    }
}

/// When the answer to a request sent at `requested_at` was made: its arrival minus its age at that time (RFC 9111 §4.2.3).
pub(crate) fn created_at(headers: &IndexedHeaders<'_>, requested_at: Timestamp, answered: Arrival) -> Timestamp {
    let apparent = headers.get(&DATE).and_then(date).map_or(Duration::ZERO, |date| answered.date.since(date));
    let delay = answered.at.since(requested_at);
    answered.at.before(apparent.max(age_value(headers).saturating_add(delay)))
}

/// The first member of `Age` counts; an invalid value doesn't (RFC 9111 §5.1).
fn age_value(headers: &IndexedHeaders<'_>) -> Duration {
    let first = headers.get(&AGE).and_then(|value| value.as_bytes().split(|byte| *byte == b',').next());
    let seconds = first.and_then(|first| delta_seconds(first.trim_ascii()));
    Duration::from_secs(seconds.unwrap_or(0).into())
}

/// How long an answer is fresh by its own fields, in seconds (RFC 9111 §4.2.1). Heuristic freshness (§4.2.2) isn't used.
pub(crate) fn fresh_for(headers: &IndexedHeaders<'_>, control: &CacheControl, shared: bool, answered: Arrival) -> u32 {
    let limit = control.s_maxage.filter(|_| shared).or(control.max_age);
    limit.unwrap_or_else(|| {
        let base = headers.get(&DATE).and_then(date).unwrap_or(answered.date);
        // An invalid date counts as one in the past (§5.3).
        let left = headers.get(&EXPIRES).and_then(date).map_or(Duration::ZERO, |expires| expires.since(base));
        u32::try_from(left.as_secs()).unwrap_or(u32::MAX).min(crate::cache_control::MAX_SECONDS)
    })
}

/// Parses a date as leniently as RFC 9110 §5.6.7 asks.
pub(crate) fn date(value: &HeaderValue) -> Option<Timestamp> {
    http_date(value.as_bytes()).map(Timestamp::of)
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    const NOON: &str = "Sun, 06 Nov 1994 12:00:00 GMT";
    const NOON_AT: Timestamp = Timestamp(784_123_200_000);

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn after_noon(seconds: u64) -> Timestamp {
        Timestamp(NOON_AT.0 + seconds * 1000)
    }

    /// At that date; our own clock is an hour ahead.
    fn arrival(seconds: u64) -> Arrival {
        Arrival { at: after_noon(seconds + 3600), date: after_noon(seconds) }
    }

    /// The age that an answer had when it came, 30 s after noon.
    fn age(fields: &[(&'static str, &str)], delay: u64) -> u64 {
        let answered = arrival(30);
        answered
            .at
            .since(created_at(&IndexedHeaders::new(&headers(fields)), after_noon(3630 - delay), answered))
            .as_secs()
    }

    #[test]
    fn an_age_is_the_greater_of_what_the_date_shows_and_what_caches_told() {
        assert_eq!(age(&[], 0), 0);
        assert_eq!(age(&[], 4), 4, "all of the delay may have passed after it was made");
        assert_eq!(age(&[("date", NOON)], 4), 30);
        assert_eq!(age(&[("date", NOON), ("age", "10")], 4), 30);
        assert_eq!(age(&[("date", NOON), ("age", "100")], 4), 104);
        assert_eq!(age(&[("date", "Sun, 06 Nov 1994 13:00:00 GMT")], 4), 4, "its clock is ahead of ours");
        assert_eq!(age(&[("date", "Mon, 06 nov 1994 12:00:00 gmt")], 0), 30, "case and weekday don't make it younger");
        assert_eq!(age(&[("date", "Wed, 31 Dec 1969 23:59:59 GMT")], 0), 784_123_230, "as old as can be");
        assert_eq!(age(&[("date", "Sunday, 06-Nov-94 12:00:00 GMT")], 0), 30, "an old form of date");
    }

    #[test]
    fn of_a_list_of_ages_the_first_counts_and_what_is_no_number_does_not() {
        assert_eq!(age(&[("age", "7, 9")], 0), 7);
        assert_eq!(age(&[("age", "-7")], 0), 0);
        assert_eq!(age(&[("age", "soon")], 2), 2);
        assert_eq!(age(&[("age", "99999999999999999999999")], 0), 784_126_830, "as old as can be, and no panic");
    }

    #[test]
    fn freshness_is_told_by_s_maxage_then_max_age_then_expires() {
        let fresh = |fields: &[(&'static str, &str)], shared| {
            let headers = headers(fields);
            let headers = IndexedHeaders::new(&headers);
            fresh_for(&headers, &CacheControl::of_response(&headers), shared, arrival(10))
        };
        let expires = ("expires", "Sun, 06 Nov 1994 12:01:00 GMT");
        let both = ("cache-control", "max-age=5, s-maxage=7");
        assert_eq!(fresh(&[expires, both], true), 7);
        assert_eq!(fresh(&[expires, both], false), 5);
        assert_eq!(fresh(&[expires, ("date", NOON)], true), 60);
        assert_eq!(fresh(&[expires], true), 50, "without a date, from when it came");
        for invalid in ["0", "-1", "soon", "Sun, 06 Nov 1994 12:01:00 UTC", "Thu, 01 Jan 1600 00:00:00 GMT"] {
            assert_eq!(fresh(&[("expires", invalid), ("date", NOON)], true), 0, "{invalid}");
        }
        for other in
            ["sun, 06 nov 1994 12:01:00 gmt", "Mon, 06 Nov 1994 12:01:00 GMT", "Sunday, 06-Nov-94 12:01:00 GMT"]
        {
            assert_eq!(fresh(&[("expires", other), ("date", NOON)], true), 60, "{other}");
        }
        assert_eq!(fresh(&[("last-modified", NOON)], true), 0, "nothing is guessed");
    }

    #[test]
    fn a_moment_beyond_all_dates_is_still_one() {
        assert_eq!(NOON_AT.http_date().unwrap(), NOON);
        assert!(Timestamp(u64::MAX).http_date().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_goes_on_while_the_wall_clock_stands_or_is_set_back() {
        let clock = Clock::start();
        let second = |seconds: u64| Timestamp(clock.wall.0 + seconds * 1000);
        assert_eq!(clock.moment(second(0)), second(0));
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.moment(second(0)), second(90));
        assert_eq!(clock.moment(second(91)), second(90), "the two aren't read at once");
        assert_eq!(clock.moment(second(95)), second(95), "the machine has slept");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(clock.moment(Timestamp(0)), second(105), "no time is lost");
    }

    #[tokio::test(start_paused = true)]
    async fn a_moment_without_a_look_at_the_wall_clock_is_never_too_late() {
        let clock = Clock::start();
        let second = |seconds: u64| Timestamp(clock.wall.0 + seconds * 1000);
        tokio::time::advance(Duration::from_secs(90)).await;
        assert_eq!(clock.now_estimate(), second(90));
        clock.moment(second(95));
        assert_eq!(clock.now_estimate(), second(95), "what is known of the wall clock counts");
        let earlier = clock.now_estimate();
        assert!(earlier < clock.moment(second(97)));
    }
}
