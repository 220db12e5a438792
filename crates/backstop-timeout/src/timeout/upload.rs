//! Whose fault it is if a call whose request has a body fails or takes too long.

use std::{
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Name, Rejection, SetBy};
use backstop_kit::{Elapsed, RequestFailure, Timer, Upload};
use tokio::time::Instant;

use crate::telemetry;

/// When the limit of a request with a body starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum LimitStart {
    /// When the call is first pending.
    #[default]
    WithCall,
    /// At the end of the body.
    AfterUpload,
}

/// The request's body, and when the call was first pending.
#[derive(Debug)]
pub(crate) struct Uploading {
    upload: Upload,
    pub(crate) limit_start: LimitStart,
    /// `None` until the call is first pending.
    began: Option<Instant>,
    timer: Timer,
    timer_is_for: Option<Instant>,
}

impl Uploading {
    pub(crate) fn boxed(upload: Upload, limit_start: LimitStart) -> Box<Self> {
        Box::new(Self { upload, limit_start, began: None, timer: Timer::new(), timer_is_for: None })
    }

    /// The call is pending.
    pub(crate) fn start(&mut self) {
        self.began.get_or_insert_with(Instant::now);
    }

    /// Ready when the body has been [idle](Self::idle) for `limit`. The timer fires at most once per `limit`.
    pub(crate) fn poll_idle(&mut self, limit: Duration, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let left = limit.saturating_sub(self.upload.idle());
            if left.is_zero() {
                return Poll::Ready(());
            }
            let at = *self.timer_is_for.get_or_insert_with(|| Instant::now() + left);
            ready!(self.timer.poll_until(at, cx));
            self.timer = Timer::new();
            self.timer_is_for = None;
        }
    }

    /// How long the body hasn't been read although there was more to read, or how long ago it ended.
    pub(crate) fn idle(&self) -> Duration {
        self.upload.idle()
    }

    /// The rejection of a call that a limit ended, if that is the caller's fault.
    pub(crate) fn slow_upload_rejection(&self, name: &Name, limit: Duration, elapsed: Elapsed) -> Option<Rejection> {
        let whole = self.began.map_or(Duration::ZERO, |began| began.elapsed());
        if !self.upload.held_up(whole) {
            return None;
        }
        // Recorded as an elapsed limit, too.
        telemetry::rejection(name, Some(limit), Elapsed::new(SetBy::Caller, elapsed.progress));
        Some(RequestFailure::TooSlow.rejection(name.clone()))
    }

    /// The rejection of a call that ended with an error because the body failed.
    pub(crate) fn failed_upload_rejection(&self, name: &Name) -> Option<Rejection> {
        let failure = self.upload.failure()?;
        telemetry::upload_failed(name, failure);
        Some(failure.rejection(name.clone()))
    }
}
