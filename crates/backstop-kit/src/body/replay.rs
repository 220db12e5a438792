//! Sending a request's body again.

use std::{error::Error, fmt, sync::Arc};

use bytes::Bytes;
use http_body::Body;

use super::{
    WrapBody,
    recording::{Reader, Recording, Shared},
};

/// A body that can be sent more than once.
///
/// [`split`](Self::split) returns the body to send now, and a handle that makes copies. Implemented for
/// `axum::body::Body` (feature `axum`), `tonic::body::Body` (feature `tonic`), the boxed bodies of `http-body-util` whose
/// error implements `From<ReplayError>`, as `BoxError` does, `Full<Bytes>` and `Empty<Bytes>`. If your own body type
/// implements [`WrapBody`], implement this one with [`split_by_recording`].
#[diagnostic::on_unimplemented(
    message = "a request with the body `{Self}` can't be sent again",
    label = "this body can't be replayed",
    note = "for `axum::body::Body` enable Backstop's feature `axum`, for `tonic::body::Body` the feature `tonic` on a server \
            and `tonic-transport` around a `Channel`",
    note = "for `hyper::body::Incoming` and other concrete bodies, map the request above the layer: \
            `.map_request(|request| request.map(ClientBody::new))`",
    note = "a boxed body needs an error that implements `From<ReplayError>`, as `BoxError` does",
    note = "for a body type of your own, implement `WrapBody`, and `ReplayableBody` by `split_by_recording`"
)]
pub trait ReplayableBody: Body + Default + Sized + 'static {
    /// Splits the body into the one to send now, and the handle that makes copies of it.
    ///
    /// Nothing is read ahead. What is read of the body is buffered, up to `cap` bytes. Data counts, and the names and values
    /// of trailers.
    ///
    /// - A body whose size hint exceeds `cap` is returned unchanged, and copying fails with [`NotReplayable::TooLarge`].
    /// - A body that turns out to be longer than `cap` goes on streaming. The buffer is released, and from then on copying
    ///   fails with [`NotReplayable::TooLarge`].
    /// - A body that is already at its end is returned unchanged, and each copy is `Self::default()`. This doesn't allocate.
    fn split(self, cap: usize) -> (Self, Replay<Self>);
}

/// Makes copies of a body that is being sent.
///
/// Dropping it ends the recording and releases the buffer.
pub struct Replay<B> {
    /// `None` for a body that was at its end, and for one that can't be replayed.
    // Two fields instead of an enum, which the compiler would move variant by variant.
    recording: Option<Arc<dyn Recording<B> + Send + Sync>>,
    refused: Option<NotReplayable>,
}

/// A body in memory.
struct InMemory<B> {
    bytes: Bytes,
    make: fn(Bytes) -> B,
}

impl<B> Recording<B> for InMemory<B> {
    fn copy(self: Arc<Self>) -> Result<B, NotReplayable> {
        Ok((self.make)(self.bytes.clone()))
    }

    fn replay_state(&self) -> ReplayState {
        ReplayState::Whole
    }

    fn close(&self) {}
}

/// How much of a body can be copied, and whether that ends an earlier reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayState {
    /// All of it: a copy doesn't need the original.
    ///
    /// If the body is in memory or empty, earlier readers go on. If it is recorded, it was read to its end, and a reader that
    /// hasn't reached the end, such as an earlier copy that is still being sent, gets [`ReplayError::Superseded`].
    Whole,
    /// The part that has been read. A copy reads the rest from the original, and the earlier reader gets
    /// [`ReplayError::Superseded`].
    Partly,
    /// The part that has been read, and the earlier reader was dropped. A copy reads the rest from the original.
    Abandoned,
    /// Too little for a copy.
    Nothing(NotReplayable),
}

impl<B> Replay<B> {
    /// The handle of a body that is at its end: each copy is `B::default()`.
    #[must_use]
    pub const fn ended() -> Self {
        Self { recording: None, refused: None }
    }

    /// The handle of a body in memory: `make` makes each copy from the same bytes, which are shared, not copied.
    #[must_use]
    pub fn from_bytes(bytes: Bytes, make: fn(Bytes) -> B) -> Self
    where
        B: 'static,
    {
        Self { recording: Some(Arc::new(InMemory { bytes, make })), refused: None }
    }

    /// The handle of a body that can't be replayed.
    #[must_use]
    pub const fn refused(reason: NotReplayable) -> Self {
        Self { recording: None, refused: Some(reason) }
    }

    /// How much of the body can be copied now. Doesn't affect a reader.
    #[must_use]
    pub fn state(&self) -> ReplayState {
        match (&self.recording, self.refused) {
            (Some(recording), _) => recording.replay_state(),
            (None, Some(reason)) => ReplayState::Nothing(reason),
            (None, None) => ReplayState::Whole,
        }
    }
}

impl<B: Default> Replay<B> {
    /// A copy of the body, from its first byte to its trailers.
    ///
    /// It returns what was buffered, then reads the rest from the original body. An earlier reader that hasn't reached the
    /// end gets [`ReplayError::Superseded`], so that its part doesn't look like a complete body.
    ///
    /// # Errors
    /// [`NotReplayable`] says why there is no copy.
    pub fn copy(&mut self) -> Result<B, NotReplayable> {
        match (&self.recording, self.refused) {
            (Some(recording), _) => Arc::clone(recording).copy(),
            (None, Some(reason)) => Err(reason),
            (None, None) => Ok(B::default()),
        }
    }
}

impl<B> Drop for Replay<B> {
    fn drop(&mut self) {
        if let Some(recording) = &self.recording {
            recording.close();
        }
    }
}

impl<B> fmt::Debug for Replay<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replay").field("state", &self.state()).finish()
    }
}

/// Implements [`ReplayableBody::split`] for a type-erased body of your own.
///
/// `error` converts a [`ReplayError`] into the body's error type.
///
/// ```
/// # use backstop_kit::{Replay, ReplayError, ReplayableBody, WrapBody, split_by_recording};
/// # use bytes::Bytes;
/// # use http_body::{Body, Frame, SizeHint};
/// # use http_body_util::combinators::UnsyncBoxBody;
/// # use std::{io, pin::Pin, task::{Context, Poll}};
/// #[derive(Default)]
/// struct MyBody(UnsyncBoxBody<Bytes, io::Error>);
///
/// impl ReplayableBody for MyBody {
///     fn split(self, cap: usize) -> (Self, Replay<Self>) {
///         split_by_recording(self, cap, io::Error::other)
///     }
/// }
/// # impl Body for MyBody {
/// #     type Data = Bytes;
/// #     type Error = io::Error;
/// #     fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
/// #         Pin::new(&mut self.0).poll_frame(cx)
/// #     }
/// #     fn is_end_stream(&self) -> bool { self.0.is_end_stream() }
/// #     fn size_hint(&self) -> SizeHint { self.0.size_hint() }
/// # }
/// # impl WrapBody for MyBody {
/// #     fn wrap<W: Body<Data = Bytes, Error = io::Error> + Send + 'static>(body: W) -> Self {
/// #         Self(UnsyncBoxBody::new(body))
/// #     }
/// # }
/// ```
pub fn split_by_recording<B, F>(body: B, cap: usize, error: F) -> (B, Replay<B>)
where
    B: WrapBody,
    B::Error: Send,
    F: Fn(ReplayError) -> B::Error + Send + Sync + 'static,
{
    if body.is_end_stream() {
        return (body, Replay::ended());
    }
    let hint = body.size_hint();
    if hint.lower() > cap as u64 {
        return (body, Replay::refused(NotReplayable::TooLarge));
    }
    let shared = Arc::new(Shared::new(body, hint, cap, error));
    let first = B::wrap(Reader::first(Arc::clone(&shared)));
    (first, Replay { recording: Some(shared), refused: None })
}

/// Why there is no copy of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NotReplayable {
    /// It is larger than the cap.
    TooLarge,
    /// Reading the original body failed.
    SourceFailed,
    /// It holds a kind of frame that is neither data nor trailers.
    UnknownFrame,
}

impl fmt::Display for NotReplayable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the body is larger than the buffer",
            Self::SourceFailed => "reading the body failed",
            Self::UnknownFrame => "the body holds a frame that is neither data nor trailers",
        })
    }
}

impl Error for NotReplayable {}

/// The error of a reader that can't read on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReplayError {
    /// A newer copy of the body has taken over.
    Superseded,
    /// The original body panicked while another reader polled it.
    SourceLost,
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superseded => "a newer copy of this body has taken over",
            Self::SourceLost => "the original body was lost while another reader read from it",
        })
    }
}

impl Error for ReplayError {}
