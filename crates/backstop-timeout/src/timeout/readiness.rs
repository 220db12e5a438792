//! How long a caller has waited for the inner service to be ready.
//!
//! | from | the inner service is | to |
//! |---|---|---|
//! | ready | ready | ready |
//! | ready | not ready | waiting, from now on |
//! | waiting | ready | ready, with the time waited |
//! | waiting, the limit or the scope's deadline has passed | not ready | the same; the layer is ready, to refuse |
//! | waiting, the limit has passed twice | either | as if asked for the first time |
//! | any | called, or spared a call that is refused | ready, no time waited |

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, SetBy, Timer, scope};
use pin_project_lite::pin_project;
use tokio::time::Instant;

#[derive(Debug)]
pub(crate) enum Readiness {
    /// The inner service is ready, or was not asked yet.
    Ready { waited: Duration },
    /// It was not ready when it was asked. Boxed, because a service isn't pinned.
    Waiting(Pin<Box<Wait>>),
}

pin_project! {
    #[derive(Debug)]
    pub(crate) struct Wait {
        since: Instant,
        // What the timer is set for. The next caller may have another deadline.
        until: Instant,
        #[pin]
        timer: Timer,
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::Ready { waited: Duration::ZERO }
    }
}

impl Readiness {
    /// The inner service is ready.
    #[inline]
    pub(crate) fn set_ready(&mut self, limit: Duration) {
        if let Self::Waiting(wait) = self {
            let waited = wait.since.elapsed();
            *self = Self::Ready { waited: if was_given_up(waited, limit) { Duration::ZERO } else { waited } };
        }
    }

    /// The inner service isn't ready. Ready once that has lasted for the limit, or the scope's deadline has passed.
    pub(crate) fn poll_too_late(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(wait) if !was_given_up(wait.since.elapsed(), limit) => wait.as_mut().poll(limit, cx),
            _ => {
                let now = Instant::now();
                let mut wait = Box::pin(Wait { since: now, until: now, timer: Timer::new() });
                let poll = wait.as_mut().poll(limit, cx);
                *self = Self::Waiting(wait);
                poll
            }
        }
    }

    /// What the call that comes now has left of its limit. Where the inner service wasn't ready in time: whose limit that
    /// was.
    pub(crate) fn take(&mut self, limit: Duration) -> Result<Duration, SetBy> {
        match mem::take(self) {
            Self::Ready { waited } => limit.checked_sub(waited).filter(|left| !left.is_zero()).ok_or(SetBy::Us),
            Self::Waiting(wait) => Err(wait.limit(limit).set_by()),
        }
    }
}

impl Wait {
    /// When it is over, and by whom.
    fn limit(&self, limit: Duration) -> Deadline {
        Deadline::at(self.since + limit, SetBy::Us).narrowed_by(scope::deadline())
    }

    fn poll(self: Pin<&mut Self>, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let until = self.limit(limit).instant();
        let mut this = self.project();
        if mem::replace(this.until, until) != until {
            this.timer.set(Timer::new());
        }
        this.timer.poll_until(until, cx)
    }
}

/// Whoever waits is woken when the limit has passed. A wait that nobody came back to for as long again was given up,
/// by a caller that kept the service: it must not be held against the next one.
fn was_given_up(waited: Duration, limit: Duration) -> bool {
    waited >= limit * 2
}
