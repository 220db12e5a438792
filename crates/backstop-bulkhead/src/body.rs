//! The response body, which holds its call's permit.

use std::task::{Context, Poll};

use backstop_core::SetBy;
use backstop_kit::{AbortBody, BodyAction, BodyGuard, BodyStep, Timer, WaitTime};
use tokio::time::Instant;

use crate::permit::BodyPermit;

/// A permit that is given back at the end of the body. If it expires earlier, it ends the body.
pub(crate) struct PermitInBody {
    permit: BodyPermit,
    /// When the body was last polled.
    polled_at: Instant,
    /// How long the reader waited for the body. The rest of the time, the body waited for its reader.
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
        // Read in each poll, because a body that always has another frame never polls the timer.
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
            // A frame is ready, and the reader comes too late for it. It counts as away since its last poll.
            self.wait.forget_current();
        }
        // A slow reader isn't the service's fault, and must not trip a circuit.
        let kept_by = if self.wait.is_most_of(self.permit.since(), until) { SetBy::Us } else { SetBy::Caller };
        BodyAction::Abort(kept_by, B::abort(self.permit.expire(kept_by)))
    }
}
