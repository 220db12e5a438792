//! A response body with a time limit.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use backstop_core::{Deadline, Name, SetBy};
use backstop_kit::{AbortBody, BodyAction, BodyGuard, BodyStep, Elapsed, Progress, Timer, WaitTime};
use tokio::time::Instant;

use super::{cover::BodyLimit, upload::Uploading};
use crate::telemetry;

/// Ends a body when its time is up. Timers are created when the body is first pending.
pub(crate) struct LimitInBody {
    /// When the limit of head and body started.
    began: Instant,
    /// `None` if the limit starts at the end of the request's body, and the scope has no deadline.
    deadline: Option<Deadline>,
    /// The request's body, if the limit starts at its end.
    uploading: Option<Box<Uploading>>,
    /// How long we waited for head and body. The rest of the time, the body waited for its reader.
    wait: WaitTime,
    timer: Timer,
    name: Name,
    limit: Duration,
}

impl LimitInBody {
    /// `began` is when the call was first pending. `None` if it never was.
    pub(crate) fn new(began: Option<Instant>, limit: BodyLimit<'_>) -> Self {
        let BodyLimit { name, limit, deadline, uploading } = limit;
        let now = Instant::now();
        // Until now, the call waited for the response head.
        let waited = now.saturating_duration_since(began.unwrap_or(now));
        let waited = uploading.as_ref().map_or(waited, |uploading| waited.min(uploading.idle()));
        let wait = WaitTime::after(waited);
        Self { began: now - waited, deadline, uploading, wait, timer: Timer::new(), name: name.clone(), limit }
    }

    /// Ready when the time is up. Returns who set the limit.
    fn poll_limit(&mut self, cx: &mut Context<'_>) -> Poll<SetBy> {
        if let Some(deadline) = self.deadline
            && self.timer.poll_until(deadline.instant(), cx).is_ready()
        {
            return Poll::Ready(deadline.set_by());
        }
        match &mut self.uploading {
            Some(uploading) => uploading.poll_idle(self.limit, cx).map(|()| SetBy::Us),
            None => Poll::Pending,
        }
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
        let Poll::Ready(set_by) = self.poll_limit(cx) else {
            return BodyAction::Continue;
        };
        // If the body waited for its reader for most of the time, the service isn't to blame.
        let until = self.deadline.map_or_else(Instant::now, |deadline| deadline.instant().min(Instant::now()));
        let set_by = if self.wait.is_most_of(self.began, until) { set_by } else { SetBy::Caller };
        let elapsed = Elapsed::new(set_by, Progress::Called);
        BodyAction::Abort(set_by, B::abort(telemetry::rejection(&self.name, Some(self.limit), elapsed)))
    }
}
