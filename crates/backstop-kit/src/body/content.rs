//! Whether a request has content.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use http::{
    HeaderMap, Request, Version,
    header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING},
};
use http_body::{Body, Frame, SizeHint};

use super::{
    WrapBody,
    erased::{self, Visit},
};

/// The most empty frames that are read to find out whether a body is empty.
const MOST_EMPTY_FRAMES: usize = 8;

/// Whether a request has content, for methods that rarely have any, such as `GET`.
///
/// It has content if it has `Transfer-Encoding` or a `Content-Length` other than 0 (RFC 9112 §6), or if its body isn't
/// empty. A body that may be empty without knowing it is polled, and the frame is put back: layers that wrap bodies hide
/// their end, and in HTTP/2 an empty frame may end a request. If the body is pending, it counts as content, because this
/// function doesn't wait.
///
/// Only bodies that [can be watched](crate::Upload::of_any) can be polled and put back. A body of another type counts as
/// empty if the request has `Content-Length: 0`, or if it came over HTTP/1 (it has a `Host`, and no authority in its URI)
/// and has neither header. Otherwise it counts as content.
///
/// Don't call it for methods that usually have content: polling a body tells its sender to begin.
///
/// ```
/// use backstop_kit::has_content;
/// use bytes::Bytes;
/// use http::Request;
/// use http_body_util::{BodyStream, Empty, Full, StreamBody, combinators::UnsyncBoxBody};
/// use std::convert::Infallible;
///
/// // A stream doesn't know that it is empty.
/// let hidden = UnsyncBoxBody::<Bytes, Infallible>::new(StreamBody::new(BodyStream::new(Empty::new())));
/// assert!(!has_content(&mut Request::new(hidden)));
/// let hidden = UnsyncBoxBody::<Bytes, Infallible>::new(StreamBody::new(BodyStream::new(Full::from("{}"))));
/// assert!(has_content(&mut Request::new(hidden)));
/// ```
pub fn has_content<B: Body + 'static>(request: &mut Request<B>) -> bool {
    if fields_tell_of_content(request.headers()) {
        return true;
    }
    let (body, hint) = (request.body(), request.body().size_hint());
    if body.is_end_stream() || hint.lower() > 0 {
        return hint.lower() > 0;
    }
    erased::visit(request.body_mut(), HoldsAnything).unwrap_or_else(|| {
        let came_over_http1 = request.version() < Version::HTTP_2
            && request.uri().authority().is_none()
            && request.headers().contains_key(HOST);
        !(came_over_http1 || request.headers().contains_key(CONTENT_LENGTH))
    })
}

fn fields_tell_of_content(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING)
        || headers.get_all(CONTENT_LENGTH).iter().any(|length| length.as_bytes() != b"0")
}

/// Whether the body is not empty, or may not be. Leaves the body as it was, apart from empty frames.
struct HoldsAnything;

impl Visit for HoldsAnything {
    type Output = bool;

    fn visit<B: WrapBody<Error: Send>>(self, body: &mut B) -> bool {
        // The body's reader registers its own waker later.
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..MOST_EMPTY_FRAMES {
            match Pin::new(&mut *body).poll_frame(&mut cx) {
                Poll::Pending => return true,
                Poll::Ready(None) => {
                    // A body that has ended must not be polled again.
                    *body = B::default();
                    return false;
                }
                Poll::Ready(Some(Ok(frame))) if frame.data_ref().is_some_and(Bytes::is_empty) => {
                    if body.is_end_stream() {
                        return false;
                    }
                }
                Poll::Ready(Some(first)) => {
                    let rest = mem::take(body);
                    *body = B::wrap(PutBack { first: Some(first), rest });
                    return true;
                }
            }
        }
        true
    }
}

/// A body with the frame that was taken from it.
struct PutBack<B: Body> {
    first: Option<Result<Frame<B::Data>, B::Error>>,
    rest: B,
}

// Nothing in it is pinned.
impl<B: Body + Unpin> Unpin for PutBack<B> {}

impl<B: Body<Data = Bytes> + Unpin> Body for PutBack<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => Pin::new(&mut self.rest).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.first.is_none() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.rest.size_hint();
        let Some(Ok(first)) = &self.first else { return rest };
        let len = first.data_ref().map_or(0, |data| data.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(len)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(len));
        hint
    }
}
