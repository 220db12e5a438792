//! How long a caller has waited for the inner service to be ready.
//!
//! | from | the inner service is | to |
//! |---|---|---|
//! | ready | ready | ready |
//! | ready | not ready | waiting, from now on |
//! | waiting | ready | ready, with the time waited |
//! | waiting, the limit has passed | not ready | the same; the layer is ready, to refuse |
//! | waiting, the limit has passed twice | either | as if asked for the first time |
//! | any | called, or spared a call that is refused | ready, no time waited |

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::Timer;
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

    /// The inner service isn't ready. Ready once that has lasted for the limit.
    pub(crate) fn poll_too_late(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Waiting(wait) if !was_given_up(wait.since.elapsed(), limit) => wait.as_mut().poll(limit, cx),
            _ => {
                let mut wait = Box::pin(Wait { since: Instant::now(), timer: Timer::new() });
                let poll = wait.as_mut().poll(limit, cx);
                *self = Self::Waiting(wait);
                poll
            }
        }
    }

    /// What the call that comes now has left of its limit; `None` where the inner service wasn't ready in time.
    #[inline]
    pub(crate) fn take(&mut self, limit: Duration) -> Option<Duration> {
        match mem::take(self) {
            Self::Ready { waited } => limit.checked_sub(waited).filter(|left| !left.is_zero()),
            Self::Waiting(_) => None,
        }
    }
}

impl Wait {
    fn poll(self: Pin<&mut Self>, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        this.timer.poll_until(*this.since + limit, cx)
    }
}

/// Whoever waits is woken when the limit has passed. A wait that nobody came back to for as long again was given up,
/// by a caller that kept the service: it must not be held against the next one.
fn was_given_up(waited: Duration, limit: Duration) -> bool {
    waited >= limit * 2
}
