//! The status of a gRPC response whose body fails.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status, body::Body as TonicBody};

/// Ends a gRPC response body that fails with the status in its trailers, as a service would.
///
/// Without this, a server resets the stream, and the client gets `INTERNAL`: it never learns that a time limit has passed. Use
/// it on a server, outside all layers that end response bodies early, such as a timeout that covers the body. Inside them, a
/// layer further out wouldn't find the [`Rejection`](backstop_core::Rejection) any more. It costs one allocation for each
/// response.
///
/// The text of an error that isn't a `Status` stays inside: the client gets `UNKNOWN`, "the response broke off".
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
        // tonic made it of another error, and keeps that as its source.
        let status = match status.code() {
            Code::Unknown if status.source().is_some() => Status::unknown("the response broke off"),
            _ => status,
        };
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

#[cfg(test)]
mod tests {
    use std::io;

    use http_body_util::BodyExt;
    use tokio_test::task::spawn;

    use super::*;

    /// The trailers of a body that fails with `error`.
    fn trailers(error: impl Into<Box<dyn Error + Send + Sync>>) -> Status {
        let failing = Failing(Some(error.into()));
        let collected = spawn(errors_as_trailers(TonicBody::new(failing)).collect()).poll();
        let Poll::Ready(Ok(collected)) = collected else { panic!("{collected:?}") };
        Status::from_header_map(collected.trailers().unwrap()).unwrap()
    }

    struct Failing(Option<Box<dyn Error + Send + Sync>>);

    impl Body for Failing {
        type Data = Bytes;
        type Error = Box<dyn Error + Send + Sync>;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
            Poll::Ready(self.0.take().map(Err))
        }
    }

    #[test]
    fn a_status_keeps_its_text_and_another_error_keeps_it_to_itself() {
        let own = trailers(Status::unknown("no such greeting"));
        assert_eq!((own.code(), own.message()), (Code::Unknown, "no such greeting"));
        let foreign = trailers(io::Error::other("postgres://bob:secret@db"));
        assert_eq!((foreign.code(), foreign.message()), (Code::Unknown, "the response broke off"));
    }
}
