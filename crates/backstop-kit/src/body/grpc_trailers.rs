//! The status of a gRPC response whose body fails.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::{Status, body::Body as TonicBody};

/// Ends a gRPC response body that fails with the status in its trailers, as a service would.
///
/// Without this, a server resets the stream, and the client gets `INTERNAL`: it never learns that a time limit has passed. Use
/// it on a server, outside all layers that end response bodies early, such as a timeout that covers the body. Inside them, a
/// layer further out wouldn't find the [`Rejection`](backstop_core::Rejection) any more. It costs one allocation for each
/// response.
///
/// ```
/// use backstop_kit::errors_as_trailers;
/// use http::Response;
/// use tonic::body::Body;
/// use tower::{ServiceBuilder, util::MapResponseLayer};
///
/// let layers = ServiceBuilder::new()
///     .layer(MapResponseLayer::new(|response: Response<Body>| response.map(errors_as_trailers)));
/// # _ = layers;
/// ```
#[must_use]
pub fn errors_as_trailers(body: TonicBody) -> TonicBody {
    if body.is_end_stream() { body } else { TonicBody::new(ErrorsAsTrailers { body: Some(body) }) }
}

struct ErrorsAsTrailers {
    /// `None` once it has failed.
    body: Option<TonicBody>,
}

impl Body for ErrorsAsTrailers {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        let Poll::Ready(Some(Err(status))) = polled else {
            return polled;
        };
        self.body = None;
        let mut trailers = HeaderMap::new();
        Poll::Ready(Some(status.add_header(&mut trailers).map(|()| Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // A body that fails is shorter than it said.
        SizeHint::default()
    }
}
