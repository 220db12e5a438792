//! The response body that has a time limit.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::{AbortBody, Deadline, Elapsed, Name, Progress, Timer, scope};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::cover::BodyLimit;
use crate::telemetry;

pin_project! {
    /// A body until its deadline. Frames, size hint, end and errors are the inner body's; the timer is made when that is
    /// first pending.
    pub(crate) struct LimitedBody<B> {
        // `None` once its time was up.
        inner: Option<B>,
        deadline: Deadline,
        timer: Timer,
        name: Name,
        limit: Duration,
    }
}

impl<B> LimitedBody<B> {
    pub(crate) fn new(inner: B, limit: BodyLimit<'_>) -> Self {
        let BodyLimit { name, limit, deadline } = limit;
        Self { inner: Some(inner), deadline, timer: Timer::new(), name: name.clone(), limit }
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
        if let Poll::Ready(frame) = Pin::new(inner).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        ready!(this.timer.poll_until(this.deadline.instant(), cx));
        let set_by = this.deadline.set_by();
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
