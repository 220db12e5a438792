//! A body that is copied aside while it streams on.
//!
//! | state | on | to |
//! |---|---|---|
//! | copying | a piece | copying; passing, where it is too long |
//! | copying | a report, or a trailer, that says that a part is less than good | passing |
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

use backstop_kit::WrapBody;
use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::{
    Store,
    quality::Quality,
    watch::{Copying, Task},
};

/// # Cancellation
/// Dropping it before its end stores nothing.
pub(crate) struct StoringBody<B, St> {
    inner: B,
    state: State<St>,
}

enum State<St> {
    Copying(Copying<St>),
    Storing { task: Task, last: Option<Frame<Bytes>> },
    Passing,
}

impl<B, St> StoringBody<B, St> {
    pub(crate) fn new(inner: B, copying: Copying<St>) -> Self {
        Self { inner, state: State::Copying(copying) }
    }
}

impl<B, St> Drop for StoringBody<B, St> {
    fn drop(&mut self) {
        if let State::Copying(copying) = &self.state {
            copying.is_dropped();
        }
    }
}

/// What a frame means for what is being copied.
enum Seen {
    More,
    End,
    /// It can't be stored.
    TooMuch,
}

impl<B: WrapBody, St: Store> StoringBody<B, St> {
    fn copy(inner: &B, copying: &mut Copying<St>, frame: Option<&Frame<Bytes>>) -> Seen {
        let Some(frame) = frame else { return Seen::End };
        match frame.data_ref() {
            Some(data) if copying.push(data).is_none() => Seen::TooMuch,
            Some(_) if copying.has_all() || inner.is_end_stream() => Seen::End,
            Some(_) => Seen::More,
            None if frame.is_trailers() => Seen::End,
            // Of a kind that isn't known yet.
            None => Seen::TooMuch,
        }
    }
}

impl<B: WrapBody, St: Store> Body for StoringBody<B, St> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        if let State::Copying(copying) = &mut this.state {
            let (polled, quality) = copying.poll(|| Pin::new(&mut this.inner).poll_frame(cx));
            if quality == Quality::Degraded {
                copying.is_degraded();
                this.state = State::Passing;
                return polled;
            }
            let frame = ready!(polled).transpose();
            let seen = match &frame {
                Ok(Some(frame))
                    if frame.trailers_ref().is_some_and(|it| Quality::told_by_trailers(it) != Quality::Good) =>
                {
                    copying.is_degraded();
                    Seen::TooMuch
                }
                Ok(frame) => Self::copy(&this.inner, copying, frame.as_ref()),
                Err(_) => {
                    copying.fail();
                    Seen::TooMuch
                }
            };
            if let Seen::More = seen {
                return Poll::Ready(frame.transpose());
            }
            let state = mem::replace(&mut this.state, State::Passing);
            match (seen, state, frame) {
                (Seen::End, State::Copying(copying), Ok(last)) => match copying.complete() {
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
