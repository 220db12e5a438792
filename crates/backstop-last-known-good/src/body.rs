//! A body that is copied while it streams.
//!
//! | state | event | next state |
//! |---|---|---|
//! | copying | a piece | copying; passing, if the body is too long |
//! | copying | a report or a trailer says that a part is degraded | passing |
//! | copying | the end of a complete body | storing, with the last piece held back |
//! | copying | the end of an incomplete body; an error | passing |
//! | storing | stored, failed, or timed out | passing: the last piece is returned |
//!
//! Each piece is returned in the poll that produced it. The last piece waits for the store, at most `store_timeout`, unless the
//! store is ready at once: a server doesn't poll a body of known length again after its last piece.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_kit::WrapBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    Store,
    body_copy::{BodyCopy, StoreTask},
    quality::Quality,
};

/// # Cancellation
/// Dropping it before its end stores nothing.
pub(crate) struct StoringBody<B, St> {
    inner: B,
    state: State<St>,
}

enum State<St> {
    BodyCopy(BodyCopy<St>),
    Storing { task: StoreTask, last: Option<Frame<Bytes>> },
    Passing,
}

impl<B, St> StoringBody<B, St> {
    pub(crate) fn new(inner: B, copy: BodyCopy<St>) -> Self {
        Self { inner, state: State::BodyCopy(copy) }
    }
}

impl<B, St> Drop for StoringBody<B, St> {
    fn drop(&mut self) {
        if let State::BodyCopy(copy) = &self.state {
            copy.on_drop();
        }
    }
}

/// What a frame means for the copy.
enum FrameEffect {
    Continue,
    End,
    /// The answer can't be stored.
    Stop,
}

impl<B: WrapBody, St: Store> StoringBody<B, St> {
    fn copy(inner: &B, copy: &mut BodyCopy<St>, frame: Option<&Frame<Bytes>>) -> FrameEffect {
        let Some(frame) = frame else { return FrameEffect::End };
        match frame.data_ref() {
            Some(data) if copy.push(data).is_none() => FrameEffect::Stop,
            Some(_) if copy.has_all() || inner.is_end_stream() => FrameEffect::End,
            Some(_) => FrameEffect::Continue,
            None if frame.is_trailers() => FrameEffect::End,
            // An unknown kind of frame.
            None => FrameEffect::Stop,
        }
    }
}

impl<B: WrapBody, St: Store> Body for StoringBody<B, St> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let State::BodyCopy(copy) = &mut this.state {
            let (polled, quality) = copy.poll(|| Pin::new(&mut this.inner).poll_frame(cx));
            if quality == Quality::Degraded {
                copy.on_degraded();
                this.state = State::Passing;
                return polled;
            }
            let frame = ready!(polled).transpose();
            let seen = match &frame {
                Ok(Some(frame)) if frame.trailers_ref().is_some_and(|it| Quality::of_trailers(it) != Quality::Good) => {
                    copy.on_degraded();
                    FrameEffect::Stop
                }
                Ok(frame) => Self::copy(&this.inner, copy, frame.as_ref()),
                Err(_) => {
                    copy.fail();
                    FrameEffect::Stop
                }
            };
            if let FrameEffect::Continue = seen {
                return Poll::Ready(frame.transpose());
            }
            let state = mem::replace(&mut this.state, State::Passing);
            match (seen, state, frame) {
                (FrameEffect::End, State::BodyCopy(copy), Ok(last)) => match copy.complete() {
                    Some(task) => this.state = State::Storing { task, last },
                    None => return Poll::Ready(last.map(Ok)),
                },
                (_, _, frame) => return Poll::Ready(frame.transpose()),
            }
        }
        if let State::Storing { task, last } = &mut this.state {
            ready!(task.as_mut().poll(cx));
            let last = last.take();
            this.state = State::Passing;
            return Poll::Ready(last.map(Ok));
        }
        Pin::new(&mut this.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match self.state {
            State::Storing { .. } => false,
            State::BodyCopy(_) | State::Passing => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Storing { last, .. } => {
                let data = last.as_ref().and_then(Frame::data_ref);
                SizeHint::with_exact(data.map_or(0, |data| data.len() as u64))
            }
            State::BodyCopy(_) | State::Passing => self.inner.size_hint(),
        }
    }
}
