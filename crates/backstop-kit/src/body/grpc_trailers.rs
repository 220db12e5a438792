//! The status of a gRPC response whose body fails.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::{ErrorRef, Rejection};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use tonic::{Code, Status};

use crate::WrapBody;

type BoxError = Box<dyn Error + Send + Sync>;

/// Ends a gRPC response body that fails with the status in its trailers, as a service would.
///
/// Without this, a server resets the stream, and the client gets `INTERNAL`: it never learns that a time limit has passed. Use
/// it on a server, outside all layers that end response bodies early, such as a timeout that covers the body. Inside them, a
/// layer further out wouldn't find the [`Rejection`](backstop_core::Rejection) any more. It costs one allocation for each
/// response. It takes the bodies of tonic, those of axum, as in a `Router` of gRPC services, and all other bodies that can
/// [hold another one](WrapBody).
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
pub fn errors_as_trailers<B>(body: B) -> B
where
    B: WrapBody,
    B::Error: Into<BoxError>,
{
    if body.is_end_stream() { body } else { B::wrap(ErrorsAsTrailers { body: Some(body) }) }
}

struct ErrorsAsTrailers<B> {
    /// `None` once it has failed.
    body: Option<B>,
}

impl<B> Body for ErrorsAsTrailers<B>
where
    B: WrapBody,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let Some(body) = &mut self.body else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(body).poll_frame(cx);
        let Poll::Ready(Some(Err(error))) = polled else {
            return polled;
        };
        self.body = None;
        Poll::Ready(Some(Ok(Frame::trailers(trailers_of(&status_of(error.into()))))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        // A body that fails is shorter than it said.
        SizeHint::default()
    }
}

fn status_of(error: BoxError) -> Status {
    let status = match error.downcast::<Status>() {
        Ok(status) => *status,
        Err(error) => match Rejection::in_error(ErrorRef::new(&error)) {
            Some(rejection) => Status::new(Code::from_i32(rejection.code().number().into()), rejection.to_string()),
            None => Status::from_error(error),
        },
    };
    match status.code() {
        // It was made of another error, which is its source.
        Code::Unknown if status.source().is_some() => Status::unknown("the response broke off"),
        _ => status,
    }
}

fn trailers_of(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Its metadata aren't valid headers.
        trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(i32::from(status.code())));
    }
    trailers
}

#[cfg(test)]
mod tests {
    use std::io;

    use backstop_core::{SetBy, name};
    use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
    use tokio_test::task::spawn;
    use tonic::body::Body as TonicBody;

    use super::*;
    use crate::{AbortBody, Elapsed, Progress};

    /// The trailers of a body that fails with `error`.
    fn trailers(error: impl Into<BoxError>) -> Status {
        trailers_of_body(TonicBody::new(Failing(Some(error.into()))))
    }

    fn trailers_of_body<B>(body: B) -> Status
    where
        B: WrapBody,
        B::Error: Into<BoxError> + Error,
    {
        let collected = spawn(errors_as_trailers(body).collect()).poll();
        let Poll::Ready(Ok(collected)) = collected else { panic!("the body failed") };
        Status::from_header_map(collected.trailers().unwrap()).unwrap()
    }

    /// The status of a body that a layer ends because the time is up.
    fn late<B>() -> (Code, String)
    where
        B: AbortBody,
        B::Error: Into<BoxError> + Error + Send + Unpin,
    {
        let rejection = Elapsed::new(SetBy::Us, Progress::Called).rejection(name!("greeter"));
        let status = trailers_of_body(B::wrap(Failing(Some(B::abort(rejection)))));
        (status.code(), status.message().to_owned())
    }

    struct Failing<E>(Option<E>);

    impl<E: Unpin> Body for Failing<E> {
        type Data = Bytes;
        type Error = E;

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

    #[test]
    fn a_body_that_a_layer_ended_has_the_status_of_its_rejection_whatever_the_type_of_the_body() {
        let expected = (Code::DeadlineExceeded, "greeter took too long".to_owned());
        assert_eq!(late::<TonicBody>(), expected);
        #[cfg(feature = "axum")]
        assert_eq!(late::<axum_core::body::Body>(), expected);
        assert_eq!(late::<UnsyncBoxBody<Bytes, Rejection>>(), expected);
    }
}
