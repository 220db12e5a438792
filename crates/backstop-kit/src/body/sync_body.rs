//! A body that is `Sync` because nothing can be done with a shared reference to it.

use std::{
    fmt,
    pin::Pin,
    sync::{Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

/// Makes any body `Sync`, for clients that require it, such as reqwest. Costs one allocation.
///
/// The body is only reached through `get_mut`, so the mutex is never locked. `&self` methods read the fields beside it.
pub struct SyncBody<B> {
    // Boxed, because std can't project a pin into a mutex.
    body: Mutex<Pin<Box<B>>>,
    hint: SizeHint,
    ended: bool,
}

impl<B: Body> SyncBody<B> {
    /// Holds `body`.
    #[must_use]
    pub fn new(body: B) -> Self {
        let (hint, ended) = (body.size_hint(), body.is_end_stream());
        Self { body: Mutex::new(Box::pin(body)), hint, ended }
    }
}

impl<B: Body<Data = Bytes>> Body for SyncBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let body = this.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        let polled = body.as_mut().poll_frame(cx);
        this.hint = body.size_hint();
        this.ended = body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }

    #[expect(clippy::clone_on_copy, reason = "`SizeHint` is `Copy` only since http-body 1.1")]
    fn size_hint(&self) -> SizeHint {
        self.hint.clone()
    }
}

impl<B> fmt::Debug for SyncBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SyncBody").field("size_hint", &self.hint).finish_non_exhaustive()
    }
}
