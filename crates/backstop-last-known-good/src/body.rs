//! A body that is copied aside while it streams on.
//!
//! | state | on | to |
//! |---|---|---|
//! | copying | a piece | copying; passing, where it is too long |
//! | copying | the end, all there | storing, with the last piece in hand |
//! | copying | the end, not all there; an error | passing |
//! | storing | stored, failed, or its time is up | passing: the last piece goes out |
//!
//! Each piece goes out in the poll in which it came. With a store that is ready at once so does the last; with any other it
//! waits for the store, at most the store's time: a server doesn't ask again for what comes after the last piece of a body
//! of known length.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use backstop_core::WrapBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    Store,
    watch::{Copying, Task},
};

/// # Cancellation
/// Dropping it before its end stores nothing.
pub(crate) struct StoringBody<B, St> {
    inner: B,
    state: State<St>,
}

enum State<St> {
    Copying(Box<Copying<St>>),
    Storing { task: Task, last: Option<Frame<Bytes>> },
    Passing,
}

impl<B, St> StoringBody<B, St> {
    pub(crate) fn new(inner: B, copying: Copying<St>) -> Self {
        Self { inner, state: State::Copying(Box::new(copying)) }
    }
}

impl<B: WrapBody, St: Store> StoringBody<B, St> {
    /// The next state, and the frame that may go out.
    fn copy(&mut self, frame: Option<Frame<Bytes>>) -> Option<Frame<Bytes>> {
        let State::Copying(mut copying) = mem::replace(&mut self.state, State::Passing) else { return frame };
        let ended = match frame.as_ref().map(|frame| (frame.data_ref(), frame.is_trailers())) {
            None | Some((None, true)) => true,
            Some((Some(data), _)) => {
                if copying.push(data).is_none() {
                    return frame;
                }
                copying.has_all() || self.inner.is_end_stream()
            }
            // A kind of frame that isn't known yet.
            Some((None, false)) => return frame,
        };
        if !ended {
            self.state = State::Copying(copying);
            return frame;
        }
        let Some(task) = copying.complete() else { return frame };
        self.state = State::Storing { task, last: frame };
        None
    }
}

impl<B: WrapBody, St: Store> Body for StoringBody<B, St> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let State::Copying(copying) = &this.state {
            let frame = match ready!(Pin::new(&mut this.inner).poll_frame(cx)) {
                Some(Err(error)) => {
                    copying.fail();
                    this.state = State::Passing;
                    return Poll::Ready(Some(Err(error)));
                }
                Some(Ok(frame)) => Some(frame),
                None => None,
            };
            let frame = this.copy(frame);
            if !matches!(this.state, State::Storing { .. }) {
                return Poll::Ready(frame.map(Ok));
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
            State::Copying(_) | State::Passing => self.inner.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.state {
            State::Storing { last, .. } => {
                let data = last.as_ref().and_then(Frame::data_ref);
                SizeHint::with_exact(data.map_or(0, |data| data.len() as u64))
            }
            State::Copying(_) | State::Passing => self.inner.size_hint(),
        }
    }
}
