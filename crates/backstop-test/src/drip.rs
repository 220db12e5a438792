//! A body that comes slowly.

use std::{
    collections::VecDeque,
    error::Error,
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

/// A body whose pieces come one by one, each after a wait. Then it ends, unless it [hangs](Self::then_hang) or
/// [fails](Self::then_fail).
///
/// ```
/// use std::time::Duration;
///
/// use axum::body::Body;
/// use backstop_test::{Drip, Scripted};
/// use http::{Request, Response};
/// use tower::ServiceExt;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// // A service that answers at once, sends 2 bytes in 2 s, and breaks off.
/// let service = Scripted::answering(Response::new(Drip::new(Duration::from_secs(1), ["a", "b"]).then_fail()))
///     .map_response(|response| response.map(Body::new));
///
/// let response = service.oneshot(Request::new(Body::empty())).await.unwrap();
/// assert!(axum::body::to_bytes(response.into_body(), 9).await.is_err());
/// # }
/// ```
#[must_use]
pub struct Drip {
    every: Duration,
    pieces: VecDeque<Bytes>,
    end: End,
    wait: Option<Pin<Box<Sleep>>>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Ended,
    Hangs,
    Fails,
}

/// The error of a [`Drip`] that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenOff;

impl Drip {
    /// These pieces, each so long after the one before it, in `tokio::time`. The wait for the first one begins when it is polled.
    pub fn new(every: Duration, pieces: impl IntoIterator<Item = impl Into<Bytes>>) -> Self {
        Self { every, pieces: pieces.into_iter().map(Into::into).collect(), end: End::Ended, wait: None }
    }

    /// Never ends after the last piece.
    pub fn then_hang(self) -> Self {
        Self { end: End::Hangs, ..self }
    }

    /// Fails after one more wait, with [`BrokenOff`].
    pub fn then_fail(self) -> Self {
        Self { end: End::Fails, ..self }
    }
}

impl Body for Drip {
    type Data = Bytes;
    type Error = BrokenOff;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BrokenOff>>> {
        match (self.pieces.is_empty(), self.end) {
            (true, End::Ended) => return Poll::Ready(None),
            (true, End::Hangs) => return Poll::Pending,
            _ => {}
        }
        let every = self.every;
        ready!(self.wait.get_or_insert_with(|| Box::pin(sleep(every))).as_mut().poll(cx));
        self.wait = None;
        Poll::Ready(Some(match self.pieces.pop_front() {
            Some(piece) => Ok(Frame::data(piece)),
            None => {
                self.end = End::Ended;
                Err(BrokenOff)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && matches!(self.end, End::Ended)
    }
}

/// A clone waits anew for the piece that is due.
impl Clone for Drip {
    fn clone(&self) -> Self {
        Self { every: self.every, pieces: self.pieces.clone(), end: self.end, wait: None }
    }
}

impl fmt::Debug for Drip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { every, pieces, end, .. } = self;
        f.debug_struct("Drip")
            .field("every", every)
            .field("pieces", &pieces.len())
            .field("end", end)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for BrokenOff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body broke off")
    }
}

impl Error for BrokenOff {}
