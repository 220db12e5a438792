//! A response body with a time limit.

use std::{task::Context, time::Duration};

use backstop_core::{Deadline, Name, SetBy};
use backstop_kit::{AbortBody, BodyAction, BodyGuard, BodyStep, Elapsed, Progress, Timer, WaitTime};
use tokio::time::Instant;

use super::cover::BodyLimit;
use crate::telemetry;

/// Breaks a body off at its deadline. The timer is made when the body is first pending.
pub(crate) struct LimitInBody {
    /// When the limit of head and body started.
    began: Instant,
    deadline: Deadline,
    /// How long we waited for head and body. For the rest of the time the body waited for its reader.
    wait: WaitTime,
    timer: Timer,
    name: Name,
    limit: Duration,
}

impl LimitInBody {
    /// `began` is when the call was first pending, `None` for one that never was.
    pub(crate) fn new(began: Option<Instant>, limit: BodyLimit<'_>) -> Self {
        let BodyLimit { name, limit, deadline } = limit;
        let now = Instant::now();
        let began = began.unwrap_or(now);
        // Until now the call waited for the response head.
        let wait = WaitTime::after(now.saturating_duration_since(began));
        Self { began, deadline, wait, timer: Timer::new(), name: name.clone(), limit }
    }
}

impl<B: AbortBody> BodyGuard<B> for LimitInBody {
    fn step(&mut self, step: BodyStep<'_, B::Error>, cx: &mut Context<'_>) -> BodyAction<B::Error> {
        // A body that is never pending reads no clock.
        if !matches!(step, BodyStep::Pending) {
            if self.wait.is_waiting() {
                self.wait.stop(Instant::now());
            }
            return BodyAction::Continue;
        }
        if !self.wait.is_waiting() {
            self.wait.start(Instant::now());
        }
        let until = self.deadline.instant();
        if self.timer.poll_until(until, cx).is_pending() {
            return BodyAction::Continue;
        }
        // If the body waited for its reader for most of the time, the service isn't to blame.
        let set_by = if self.wait.is_most_of(self.began, until) { self.deadline.set_by() } else { SetBy::Caller };
        let elapsed = Elapsed::new(set_by, Progress::Called);
        BodyAction::Abort(set_by, B::abort(telemetry::rejection(&self.name, Some(self.limit), elapsed)))
    }
}
