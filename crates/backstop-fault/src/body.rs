//! Bodies that break off.

use std::{
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use backstop_core::Rejection;
use backstop_kit::AbortBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// Between the last byte and the error: hyper drops what it hasn't sent when a body fails.
const SEND_TIME: Duration = Duration::from_millis(20);

/// A body that fails after some bytes, whatever the inner body does then.
///
/// Its length stays what it was: the server announces it, and the client misses the rest.
pub(crate) struct TruncatedBody<B> {
    inner: B,
    left: u64,
    /// `None` once it has failed.
    rejection: Option<Rejection>,
    sending: Option<Pin<Box<Sleep>>>,
}

impl<B: AbortBody> TruncatedBody<B> {
    pub(crate) fn new(inner: B, bytes: u64, rejection: Rejection) -> Self {
        // A server that knows the length asks for no more than that.
        let most = inner.size_hint().exact().map_or(u64::MAX, |length| length.saturating_sub(1));
        Self { inner, left: bytes.min(most), rejection: Some(rejection), sending: None }
    }

    fn poll_failure(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        if self.rejection.is_some() {
            ready!(self.sending.get_or_insert_with(|| Box::pin(sleep(SEND_TIME))).as_mut().poll(cx));
        }
        Poll::Ready(self.rejection.take().map(|rejection| Err(B::abort(rejection))))
    }
}

impl<B: AbortBody> Body for TruncatedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        if this.left == 0 || this.rejection.is_none() {
            return this.poll_failure(cx);
        }
        match ready!(Pin::new(&mut this.inner).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
            Some(Ok(Ok(mut data))) => {
                // A frame is in memory, so its length is a `usize`.
                data.truncate(usize::try_from(this.left).unwrap_or(usize::MAX));
                this.left -= data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Some(Err(error)) => {
                this.rejection = None;
                Poll::Ready(Some(Err(error)))
            }
            // Its end, or its trailers, come too early.
            Some(Ok(Err(_))) | None => {
                this.left = 0;
                this.poll_failure(cx)
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// A body that fails before anything is sent, the head included.
pub(crate) struct FailedBody<B> {
    rejection: Option<Rejection>,
    body: PhantomData<fn() -> B>,
}

impl<B> FailedBody<B> {
    pub(crate) const fn new(rejection: Rejection) -> Self {
        Self { rejection: Some(rejection), body: PhantomData }
    }
}

impl<B: AbortBody> Body for FailedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Poll::Ready(self.rejection.take().map(|rejection| Err(B::abort(rejection))))
    }
}
