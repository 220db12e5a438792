//! How long a caller has waited for the inner service to become ready.
//!
//! | from | the inner service is | to |
//! |---|---|---|
//! | ready, at once or after a wait | ready | the same |
//! | ready, at once or after a wait | not ready | waiting, from now on |
//! | waiting | ready | ready after a wait |
//! | waiting, twice the limit has passed | ready | ready at once |
//! | waiting, the limit or the scope's deadline has passed | not ready | the same; the layer is ready, to refuse |
//! | any | called, or not called because the call is rejected | ready at once |
//!
//! A wait ends at the first poll after its limit, however late that poll comes. Otherwise a service that is polled rarely
//! would wait for ever. If a caller gives up but keeps the service, its wait stays. Then the next call is rejected without
//! a wait, unless the inner service is ready at the next poll.

use std::{
    mem,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, SetBy, scope};
use backstop_kit::Timer;
use tokio::time::Instant;

use super::live_limit::LiveLimit;

/// Whether the inner service is ready, and how long the caller has waited for that.
#[derive(Debug, Default)]
pub(crate) enum ReadyWait {
    /// The inner service is ready, or wasn't polled yet.
    #[default]
    Ready,
    /// The inner service became ready after this wait.
    ReadyAfter(Duration),
    /// The inner service isn't ready. Boxed, because it is rare and large.
    Waiting(Box<Wait>),
}

#[derive(Debug)]
pub(crate) struct Wait {
    since: Instant,
    /// When the timer fires. The next caller may have another deadline.
    until: Instant,
    timer: Timer,
}

impl ReadyWait {
    /// The inner service is ready.
    #[inline]
    pub(crate) fn set_ready(&mut self, limit: &LiveLimit) {
        if let Self::Waiting(wait) = self {
            *self = wait.ended(limit.limit());
        }
    }

    /// The inner service isn't ready. This is ready once the wait has lasted for the limit or the scope's deadline has passed.
    pub(crate) fn poll_too_late(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(wait) => wait.poll(limit, cx),
            _ => {
                let now = Instant::now();
                let mut wait = Box::new(Wait { since: now, until: now, timer: Timer::new() });
                let poll = wait.poll(limit, cx);
                *self = Self::Waiting(wait);
                poll
            }
        }
    }

    /// How much of its limit the next call has left. The error is whose limit passed before the inner service was ready.
    #[inline]
    pub(crate) fn take(&mut self, limit: Duration) -> Result<Duration, SetBy> {
        match self {
            Self::Ready => Ok(limit),
            _ => mem::take(self).left_of(limit),
        }
    }

    #[cold]
    fn left_of(self, limit: Duration) -> Result<Duration, SetBy> {
        match self {
            Self::Ready => Ok(limit),
            Self::ReadyAfter(waited) => limit.checked_sub(waited).filter(|left| !left.is_zero()).ok_or(SetBy::Us),
            Self::Waiting(wait) => Err(wait.limit(limit).set_by()),
        }
    }
}

impl Wait {
    /// The inner service became ready.
    #[cold]
    fn ended(&self, limit: Duration) -> ReadyWait {
        let waited = self.since.elapsed();
        // A waiting caller is woken when the limit passes. After twice the limit, this is another caller, which didn't wait.
        if waited >= limit * 2 { ReadyWait::Ready } else { ReadyWait::ReadyAfter(waited) }
    }

    /// When the wait ends, and who set that limit.
    fn limit(&self, limit: Duration) -> Deadline {
        Deadline::at(self.since + limit, SetBy::Us).narrowed_by(scope::deadline())
    }

    fn poll(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.limit(limit).instant();
        // Reads the clock, because on a slow runtime the timer may not have fired yet.
        if Instant::now() >= until {
            return Poll::Ready(());
        }
        if mem::replace(&mut self.until, until) != until {
            self.timer = Timer::new();
        }
        self.timer.poll_until(until, cx)
    }
}
