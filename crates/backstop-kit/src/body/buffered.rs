//! A body that is replayed from memory.

use std::{
    fmt,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
    vec,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{Piece, Pieces};

/// What was read of another body, with that body's size hint. A known length in place of an unknown one would change the
/// headers that a server writes.
pub(crate) struct BufferedBody<E> {
    pieces: vec::IntoIter<Piece>,
    hint: SizeHint,
    error: PhantomData<fn() -> E>,
}

impl<E> BufferedBody<E> {
    /// `hint` is the original body's, before it was read.
    pub(crate) fn new(pieces: Pieces, hint: SizeHint) -> Self {
        Self { pieces: pieces.into_vec().into_iter(), hint, error: PhantomData }
    }
}

impl<E> fmt::Debug for BufferedBody<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BufferedBody").field("hint", &self.hint).finish_non_exhaustive()
    }
}

impl<E> Body for BufferedBody<E> {
    type Data = Bytes;
    type Error = E;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        let this = self.get_mut();
        Poll::Ready(this.pieces.next().map(|piece| {
            this.hint = less(&this.hint, piece.data_len() as u64);
            Ok(piece.into_frame())
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.len() == 0
    }

    #[expect(clippy::clone_on_copy, reason = "`SizeHint` is `Copy` only since http-body 1.1")]
    fn size_hint(&self) -> SizeHint {
        self.hint.clone()
    }
}

fn less(hint: &SizeHint, read: u64) -> SizeHint {
    let mut rest = SizeHint::new();
    // The lower bound first: the upper one may not be set below it.
    rest.set_lower(hint.lower().saturating_sub(read));
    if let Some(upper) = hint.upper() {
        rest.set_upper(upper.saturating_sub(read).max(rest.lower()));
    }
    rest
}
