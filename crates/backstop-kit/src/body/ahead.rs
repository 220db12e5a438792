//! Reading a body before it is passed on.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::{BufferedBody, Piece, Pieces, WrapBody};
use crate::polled_again;

/// The most frames that are read in one poll, so that an endless body doesn't block its thread.
const FRAMES_A_POLL: usize = 64;

/// Reads a body before it is passed on, so that a layer can still choose another answer if the body fails.
///
/// It reads to the end of the body, or until it has more than `max_bytes`, and returns [`Ahead`]. With 0 it waits for the
/// first frame that isn't empty.
///
/// # Errors
/// The body's own error, if the body fails. What was read is lost then.
///
/// # Cancellation
/// Dropping it drops the body.
#[must_use = "futures do nothing unless polled"]
pub struct ReadAhead<B> {
    // Taken at the end.
    reading: Option<Reading<B>>,
    max_bytes: usize,
}

struct Reading<B> {
    body: B,
    /// The body's size hint before it was read.
    hint: SizeHint,
    pieces: Pieces,
}

/// A body of which a part, or all, was read ahead.
#[derive(Debug)]
#[non_exhaustive]
pub struct Ahead<B> {
    /// The same body from its start, with its trailers and its size hint.
    pub body: B,
    /// Its trailers, if they have arrived.
    pub trailers: Option<HeaderMap>,
    /// Whether all of it was read.
    pub is_whole: bool,
}

impl<B: WrapBody> ReadAhead<B> {
    /// Reads up to `max_bytes` of `body`, and the frame that exceeds them. Data counts, and the names and values of
    /// trailers.
    pub fn new(body: B, max_bytes: usize) -> Self {
        let hint = body.size_hint();
        Self { reading: Some(Reading { body, hint, pieces: Pieces::default() }), max_bytes }
    }

    /// Stops reading, and returns the body: what was read, then the rest as it arrives. `None` if reading has ended.
    pub fn stop(&mut self) -> Option<Ahead<B>> {
        self.reading.take().map(|reading| reading.ahead(End::Early(None)))
    }
}

/// Why reading ended.
enum End {
    Whole,
    /// Before the body's own end, with the last frame if it exceeds `max_bytes` or is of an unknown kind.
    Early(Option<Frame<Bytes>>),
}

impl<B: WrapBody> Reading<B> {
    fn poll(&mut self, max_bytes: usize, cx: &mut Context<'_>) -> Poll<Result<End, B::Error>> {
        for _ in 0..FRAMES_A_POLL {
            // A body that has ended must not be polled again.
            if self.body.is_end_stream() {
                return Poll::Ready(Ok(End::Whole));
            }
            match ready!(Pin::new(&mut self.body).poll_frame(cx)?).map(Piece::from_frame) {
                None => return Poll::Ready(Ok(End::Whole)),
                Some(Ok(piece)) if self.pieces.has_room_for(&piece, max_bytes) => self.pieces.push(piece),
                Some(Ok(piece)) => return Poll::Ready(Ok(End::Early(Some(piece.into_frame())))),
                Some(Err(unknown)) => return Poll::Ready(Ok(End::Early(Some(unknown)))),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn ahead(self, end: End) -> Ahead<B> {
        let Self { body: rest, hint, pieces } = self;
        match end {
            End::Whole => {
                let trailers = pieces.trailers().cloned();
                drop(rest);
                Ahead { body: B::wrap(BufferedBody::new(pieces, hint)), trailers, is_whole: true }
            }
            End::Early(frame) => {
                let trailers = frame.as_ref().and_then(Frame::trailers_ref).or(pieces.trailers()).cloned();
                let read = BufferedBody::new(pieces, hint);
                Ahead { body: B::wrap(Resumed { read, frame, rest }), trailers, is_whole: false }
            }
        }
    }
}

impl<B: WrapBody> Future for ReadAhead<B> {
    type Output = Result<Ahead<B>, B::Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Taken out, so that the body is dropped as soon as reading ends.
        let Some(mut reading) = self.reading.take() else { polled_again("ReadAhead") };
        match reading.poll(self.max_bytes, cx) {
            Poll::Pending => {
                self.reading = Some(reading);
                Poll::Pending
            }
            Poll::Ready(end) => Poll::Ready(end.map(|end| reading.ahead(end))),
        }
    }
}

impl<B> fmt::Debug for ReadAhead<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadAhead").field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

/// What was read, then the frame that exceeded the limit, then the rest.
struct Resumed<B: Body> {
    read: BufferedBody<B::Error>,
    frame: Option<Frame<Bytes>>,
    rest: B,
}

// Nothing in it is pinned.
impl<B: Body + Unpin> Unpin for Resumed<B> {}

impl<B: Body> Resumed<B> {
    /// Whether only the rest is left.
    fn only_rest_is_left(&self) -> bool {
        self.frame.is_none() && self.read.is_end_stream()
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Resumed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Self { read, frame, rest } = self.get_mut();
        if let Some(frame) = ready!(Pin::new(read).poll_frame(cx)) {
            return Poll::Ready(Some(frame));
        }
        match frame.take() {
            Some(frame) => Poll::Ready(Some(Ok(frame))),
            None => Pin::new(rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.only_rest_is_left() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // The body's first hint, minus what has been passed on since.
        if self.only_rest_is_left() { self.rest.size_hint() } else { self.read.size_hint() }
    }
}
