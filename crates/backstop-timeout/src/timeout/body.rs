//! A response body with a time limit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{Deadline, Name, SetBy, scope};
use backstop_kit::{AbortBody, Elapsed, Progress, Timer, WaitTime};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use super::cover::BodyLimit;
use crate::telemetry;

pin_project! {
    /// A body until its deadline. Frames, size hint, end and errors are the inner body's. The timer is made when the inner
    /// body is first pending.
    pub(crate) struct LimitedBody<B> {
        // `None` once its time was up.
        inner: Option<B>,
        // When the limit of head and body started.
        began: Instant,
        deadline: Deadline,
        // How long we waited for head and body. For the rest of the time the body waited for its reader.
        wait: WaitTime,
        timer: Timer,
        name: Name,
        limit: Duration,
    }
}

impl<B> LimitedBody<B> {
    /// `began` is when the call was first pending, `None` for one that never was.
    pub(crate) fn new(inner: B, began: Option<Instant>, limit: BodyLimit<'_>) -> Self {
        let BodyLimit { name, limit, deadline } = limit;
        let now = Instant::now();
        let began = began.unwrap_or(now);
        // Until now the call waited for the response head.
        let wait = WaitTime::after(now.saturating_duration_since(began));
        Self { inner: Some(inner), began, deadline, wait, timer: Timer::new(), name: name.clone(), limit }
    }
}

impl<B: AbortBody> Body for LimitedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner else {
            return Poll::Ready(None);
        };
        // A body that is never pending reads no clock.
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            if this.wait.is_waiting() {
                this.wait.stop(Instant::now());
            }
            return Poll::Ready(frame);
        }
        if !this.wait.is_waiting() {
            this.wait.start(Instant::now());
        }
        let until = this.deadline.instant();
        ready!(this.timer.poll_until(until, cx));
        // If the body waited for its reader for most of the time, the service isn't to blame.
        let set_by = if this.wait.is_most_of(*this.began, until) { this.deadline.set_by() } else { SetBy::Caller };
        scope::end(set_by, || *this.inner = None);
        let rejection = telemetry::rejection(this.name, Some(*this.limit), Elapsed::new(set_by, Progress::Called));
        Poll::Ready(Some(Err(B::abort(rejection))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}
