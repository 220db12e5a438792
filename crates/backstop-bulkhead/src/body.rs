//! The response body that holds its call's permit.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{SetBy, scope};
use backstop_kit::{AbortBody, Timer, WaitTime};
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Instant;

use crate::permit::BodyPermit;

pin_project! {
    /// A body with the permit of its call. Frames, size hint, end and errors are the inner body's, until the permit
    /// expires: then it ends with an error of ours, and drops the inner body.
    ///
    /// # Cancellation
    /// Dropping it gives the permit back.
    pub(crate) struct HeldBody<B> {
        // `None` once it was broken off.
        inner: Option<B>,
        // `None` once the body has ended.
        permit: Option<BodyPermit>,
        // How long the reader waited for the inner body. The rest of the time the inner body waited for the reader.
        wait: WaitTime,
        timer: Timer,
    }
}

impl<B> HeldBody<B> {
    pub(crate) fn new(inner: B, permit: BodyPermit) -> Self {
        Self { inner: Some(inner), permit: Some(permit), wait: WaitTime::default(), timer: Timer::new() }
    }
}

impl<B: AbortBody> Body for HeldBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner else {
            return Poll::Ready(None);
        };
        let Some(permit) = this.permit else {
            return Pin::new(inner).poll_frame(cx);
        };
        let until = permit.until();
        // Acquired each time, as a body that always has more and is always read never comes to wait for the timer.
        let now = Instant::now();
        if now < until {
            let polled = Pin::new(&mut *inner).poll_frame(cx);
            if polled.is_pending() {
                this.wait.start(now);
            } else {
                this.wait.stop(now);
            }
            let has_ended = match &polled {
                Poll::Pending => match this.timer.poll_until(until, cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(()) => None,
                },
                // Who knows by this frame that it is the last may not ask again.
                Poll::Ready(Some(Ok(frame))) => Some(frame.is_trailers() || inner.is_end_stream()),
                Poll::Ready(Some(Err(_)) | None) => Some(true),
            };
            if let Some(has_ended) = has_ended {
                if has_ended {
                    *this.permit = None;
                }
                return polled;
            }
        }
        // A reader that asked, and never came back for what is there now, has not waited since.
        if now >= until && this.wait.is_waiting() && Pin::new(inner).poll_frame(cx).is_ready() {
            this.wait.forget_current();
        }
        // A reader that didn't come for what was there is no fault of the service's, and must trip no circuit.
        let kept_by = if this.wait.is_most_of(permit.since(), until) { SetBy::Us } else { SetBy::Caller };
        // First what it protects.
        scope::end(kept_by, || *this.inner = None);
        let rejection = this.permit.take().map(|permit| permit.expire(kept_by));
        Poll::Ready(rejection.map(|rejection| Err(B::abort(rejection))))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
