//! A body for clients: it can hold hyper's `Incoming` as well as any other body.

use std::{
    error::Error,
    fmt, mem,
    pin::Pin,
    task::{Context, Poll},
};

use backstop_core::Rejection;
use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};

use super::{AbortBody, NotReplayable, Replay, ReplayableBody, WrapBody, split_by_recording};

type BoxError = Box<dyn Error + Send + Sync>;

/// The response body of a client inside a stack, and a request body for any client.
///
/// [`HttpClient`](crate::HttpClient) turns the body of hyper's responses, `Incoming`, into this one, because a layer can
/// neither make an `Incoming` nor wrap one. That costs no allocation. Errors keep their type, inside the box.
///
/// ```
/// use backstop_kit::ClientBody;
/// use http::Request;
///
/// let request = Request::post("http://orders.example/").body(ClientBody::from("the order"))?;
/// # let _ = request;
/// # Ok::<(), http::Error>(())
/// ```
#[derive(Default)]
pub struct ClientBody(Kind);

#[derive(Default)]
enum Kind {
    #[default]
    Empty,
    /// Never empty.
    Bytes(Bytes),
    #[cfg(feature = "hyper-util")]
    Incoming(hyper::body::Incoming),
    Wrapped(UnsyncBoxBody<Bytes, BoxError>),
}

impl ClientBody {
    /// Holds `body`. Costs one allocation.
    #[must_use]
    pub fn new<B>(body: B) -> Self
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        Self::wrap(body.map_err(Into::into))
    }

    /// A body without content.
    #[must_use]
    pub const fn empty() -> Self {
        Self(Kind::Empty)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    #[inline]
    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match &mut self.0 {
            Kind::Empty => Poll::Ready(None),
            Kind::Bytes(content) => {
                let content = mem::take(content);
                self.0 = Kind::Empty;
                Poll::Ready(Some(Ok(Frame::data(content))))
            }
            #[cfg(feature = "hyper-util")]
            Kind::Incoming(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Kind::Wrapped(body) => Pin::new(body).poll_frame(cx),
        }
    }

    #[inline]
    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Empty => true,
            Kind::Bytes(_) => false,
            #[cfg(feature = "hyper-util")]
            Kind::Incoming(body) => body.is_end_stream(),
            Kind::Wrapped(body) => body.is_end_stream(),
        }
    }

    #[inline]
    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Empty => SizeHint::with_exact(0),
            Kind::Bytes(content) => SizeHint::with_exact(content.len() as u64),
            #[cfg(feature = "hyper-util")]
            Kind::Incoming(body) => body.size_hint(),
            Kind::Wrapped(body) => body.size_hint(),
        }
    }
}

impl WrapBody for ClientBody {
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = BoxError> + Send + 'static,
    {
        Self(Kind::Wrapped(UnsyncBoxBody::new(body)))
    }
}

impl AbortBody for ClientBody {
    fn abort(rejection: Rejection) -> BoxError {
        rejection.into()
    }
}

/// Content that is in memory is shared, and not recorded while it is sent.
impl ReplayableBody for ClientBody {
    #[allow(clippy::match_wildcard_for_single_variants, reason = "with `hyper-util` there is one more")]
    fn split(self, cap: usize) -> (Self, Replay<Self>) {
        match self.0 {
            Kind::Empty => (self, Replay::ended()),
            Kind::Bytes(content) if content.len() > cap => (content.into(), Replay::refused(NotReplayable::TooLarge)),
            Kind::Bytes(content) => (content.clone().into(), Replay::from_bytes(content, Self::from)),
            _ => split_by_recording(self, cap, BoxError::from),
        }
    }
}

#[cfg(feature = "hyper-util")]
impl From<hyper::body::Incoming> for ClientBody {
    fn from(body: hyper::body::Incoming) -> Self {
        Self(Kind::Incoming(body))
    }
}

impl From<Bytes> for ClientBody {
    fn from(content: Bytes) -> Self {
        Self(if content.is_empty() { Kind::Empty } else { Kind::Bytes(content) })
    }
}

impl From<&'static str> for ClientBody {
    fn from(content: &'static str) -> Self {
        Bytes::from(content).into()
    }
}

impl From<String> for ClientBody {
    fn from(content: String) -> Self {
        Bytes::from(content).into()
    }
}

impl From<Vec<u8>> for ClientBody {
    fn from(content: Vec<u8>) -> Self {
        Bytes::from(content).into()
    }
}

impl fmt::Debug for ClientBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientBody").field("size_hint", &self.size_hint()).finish_non_exhaustive()
    }
}

/// A client's response body, which becomes one that layers can wrap.
///
/// A body that can be [wrapped](WrapBody) stays what it is; hyper's `Incoming` becomes a [`ClientBody`].
#[diagnostic::on_unimplemented(
    message = "layers can't wrap a response body of type `{Self}`",
    label = "not a body that layers can wrap",
    note = "for hyper's `Incoming` enable Backstop's feature `hyper-util`, for `axum::body::Body` the feature `axum`, for \
            `tonic::body::Body` the feature `tonic`",
    note = "for another body, map it around the client: `.map_response(|response| response.map(ClientBody::new))`"
)]
pub trait IntoWrapBody: Sized {
    /// What it becomes.
    type Body;

    /// The result of a poll, with that body. As a whole, so that a result that stays what it is isn't moved.
    fn into_wrap_body<E>(polled: Poll<Result<Response<Self>, E>>) -> Poll<Result<Response<Self::Body>, E>>;
}

#[diagnostic::do_not_recommend]
impl<B: WrapBody> IntoWrapBody for B {
    type Body = B;

    #[inline]
    fn into_wrap_body<E>(polled: Poll<Result<Response<B>, E>>) -> Poll<Result<Response<B>, E>> {
        polled
    }
}

#[cfg(feature = "hyper-util")]
#[diagnostic::do_not_recommend]
impl IntoWrapBody for hyper::body::Incoming {
    type Body = ClientBody;

    #[inline]
    fn into_wrap_body<E>(polled: Poll<Result<Response<Self>, E>>) -> Poll<Result<Response<ClientBody>, E>> {
        polled.map_ok(|response| response.map(ClientBody::from))
    }
}
