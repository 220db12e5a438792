//! Giving a body back of which a frame has been read.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::WrapBody;

/// The body whose first frame was read, whole again: `first` is what polling it gave, `rest` what was left.
///
/// For a layer that wants to see that an answer goes on after its head. Costs one allocation, and none for a body that
/// turned out to be empty.
#[must_use]
pub fn resume_body<B>(first: Option<Result<Frame<Bytes>, B::Error>>, rest: B) -> B
where
    B: WrapBody<Error: Send>,
{
    match first {
        Some(first) => B::wrap(Resumed { first: Some(first), rest }),
        // A body that has ended may not be polled again.
        None => B::default(),
    }
}

struct Resumed<B: Body> {
    first: Option<Result<Frame<Bytes>, B::Error>>,
    rest: B,
}

/// Nothing in it is pinned.
impl<B: Body + Unpin> Unpin for Resumed<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for Resumed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut this.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let Some(Ok(Some(data))) = self.first.as_ref().map(|first| first.as_ref().map(Frame::data_ref)) else {
            return rest;
        };
        let read = data.len() as u64;
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(read));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(read));
        }
        hint
    }
}
