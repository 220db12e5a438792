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

use crate::pending::PendingFault;

/// Between the last byte and the error: hyper drops what it hasn't sent when a body fails.
const SEND_TIME: Duration = Duration::from_millis(20);

/// A body that fails after some bytes, whatever the inner body does then. If the run has ended by then, it doesn't fail.
///
/// Its length stays what it was: the server announces it, and the client misses the rest.
pub(crate) struct TruncatedBody<B> {
    inner: B,
    state: State,
}

enum State {
    Sending {
        left: u64,
        fault: PendingFault,
    },
    /// Its bytes are sent. The rejection is `None` once it has failed.
    BrokenOff {
        rejection: Option<Rejection>,
        sending: Option<Pin<Box<Sleep>>>,
    },
    /// The inner body fails, or its run has ended: it is passed on.
    PassedOn,
}

impl State {
    /// Breaks the body off now, unless its run has ended.
    fn break_off(&mut self) {
        if let Self::Sending { fault, .. } = self {
            *self = fault.apply().map_or(Self::PassedOn, |it| Self::BrokenOff { rejection: Some(it), sending: None });
        }
    }
}

impl<B: AbortBody> TruncatedBody<B> {
    pub(crate) fn new(inner: B, bytes: u64, fault: PendingFault) -> Self {
        // A server that knows the length asks for no more than that.
        let most = inner.size_hint().exact().map_or(u64::MAX, |length| length.saturating_sub(1));
        Self { inner, state: State::Sending { left: bytes.min(most), fault } }
    }
}

impl<B: AbortBody> Body for TruncatedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { inner, state } = &mut *self;
        if matches!(state, State::Sending { left: 0, .. }) {
            state.break_off();
        }
        if let State::Sending { left, .. } = state {
            match ready!(Pin::new(&mut *inner).poll_frame(cx)).map(|frame| frame.map(Frame::into_data)) {
                Some(Ok(Ok(mut data))) => {
                    let (rest, length) = (*left, data.len() as u64);
                    *left = rest.saturating_sub(length);
                    if length >= rest {
                        state.break_off();
                    }
                    if matches!(state, State::BrokenOff { .. }) {
                        // A frame is in memory, so its length is a `usize`.
                        data.truncate(usize::try_from(rest).unwrap_or(usize::MAX));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => {
                    *state = State::PassedOn;
                    return Poll::Ready(Some(Err(error)));
                }
                // Its end, or its trailers, come too early.
                end => {
                    state.break_off();
                    if matches!(state, State::PassedOn) {
                        return Poll::Ready(end.and_then(Result::ok).and_then(Result::err).map(Ok));
                    }
                }
            }
        }
        let State::BrokenOff { rejection, sending } = state else { return Pin::new(inner).poll_frame(cx) };
        if rejection.is_some() {
            ready!(sending.get_or_insert_with(|| Box::pin(sleep(SEND_TIME))).as_mut().poll(cx));
        }
        Poll::Ready(rejection.take().map(|rejection| Err(B::abort(rejection))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.state, State::PassedOn) && self.inner.is_end_stream()
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
