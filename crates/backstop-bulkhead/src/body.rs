//! Follows the response body that holds its call's permit.

use std::task::{Context, Poll};

use backstop_core::SetBy;
use backstop_kit::{AbortBody, BodyAction, BodyGuard, BodyStep, Timer, WaitTime};
use tokio::time::Instant;

use crate::permit::BodyPermit;

/// A permit that is given back at the end of the body. When it expires before, the body is broken off.
pub(crate) struct PermitInBody {
    permit: BodyPermit,
    /// When the body was last polled.
    polled_at: Instant,
    /// How long the reader waited for the body. The rest of the time the body waited for its reader.
    wait: WaitTime,
    timer: Timer,
}

impl PermitInBody {
    pub(crate) fn new(permit: BodyPermit) -> Self {
        Self { polled_at: permit.since(), permit, wait: WaitTime::default(), timer: Timer::new() }
    }
}

impl<B: AbortBody> BodyGuard<B> for PermitInBody {
    fn run<R>(&mut self, poll: impl FnOnce() -> R) -> R {
        // Read each time: a body that always has more, and is always read, never waits for the timer.
        self.polled_at = Instant::now();
        poll()
    }

    fn step(&mut self, step: BodyStep<'_, B::Error>, cx: &mut Context<'_>) -> BodyAction<B::Error> {
        let (now, until) = (self.polled_at, self.permit.until());
        let is_pending = matches!(step, BodyStep::Pending);
        if now < until {
            if is_pending {
                self.wait.start(now);
            } else {
                self.wait.stop(now);
            }
            match step {
                BodyStep::Pending if self.timer.poll_until(until, cx) == Poll::Ready(()) => {}
                BodyStep::Pending | BodyStep::Frame { is_last: false, .. } => return BodyAction::Continue,
                _ => return BodyAction::Finish,
            }
        } else if !is_pending && self.wait.is_waiting() {
            // The reader asked, and never came back for what is there now: it hasn't waited since.
            self.wait.forget_current();
        }
        // A reader that didn't come for what was there is no fault of the service's, and must trip no circuit.
        let kept_by = if self.wait.is_most_of(self.permit.since(), until) { SetBy::Us } else { SetBy::Caller };
        BodyAction::Abort(kept_by, B::abort(self.permit.expire(kept_by)))
    }
}
