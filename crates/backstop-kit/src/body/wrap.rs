//! Wrapping a body without changing its type.

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

/// A body type that can hold any other body, so that a layer can watch or replay a body without changing its type.
///
/// Implemented for type-erased bodies: `axum::body::Body` (feature `axum`), `tonic::body::Body` (feature `tonic`) and the
/// boxed bodies of `http-body-util`. Implement it for your own type-erased body by boxing the given body.
///
/// ```
/// use backstop_kit::WrapBody;
/// use bytes::Bytes;
/// use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
/// use std::convert::Infallible;
///
/// let inner = UnsyncBoxBody::<Bytes, Infallible>::default();
/// let watched = UnsyncBoxBody::wrap(inner.map_frame(|frame| frame));
/// # let _ = watched;
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is a body type that no other body can be put into",
    label = "not a type-erased body",
    note = "for `axum::body::Body` enable Backstop's feature `axum`, for `tonic::body::Body` the feature `tonic`",
    note = "for `hyper::body::Incoming`, put `backstop::http_client(…)` around the client; for other concrete bodies, map \
            the body below the layer, for example to `backstop::ClientBody`",
    note = "or, where the layer only wants to keep an answer that it may replace, choose `.discard_replaced()`"
)]
pub trait WrapBody: Body<Data = Bytes> + Default + Unpin + Send + 'static {
    /// Puts `body` into this type. Its frames, size hint, end and errors stay the same.
    ///
    /// Costs one allocation (two for [`BoxBody`]).
    #[must_use]
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = Self::Error> + Send + 'static;
}

#[cfg(feature = "axum")]
#[diagnostic::do_not_recommend]
impl WrapBody for axum_core::body::Body {
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = Self::Error> + Send + 'static,
    {
        use http_body_util::BodyExt;

        // `Body::new` boxes each error into an `axum_core::Error`. Without `into_inner`, an error that already is one would
        // be nested too deeply for axum's extractors, which look for the body limit's 413 in it.
        Self::new(body.map_err(axum_core::Error::into_inner))
    }
}

#[cfg(feature = "tonic")]
#[diagnostic::do_not_recommend]
impl WrapBody for tonic::body::Body {
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = Self::Error> + Send + 'static,
    {
        // tonic uses a body of this type as it is, so each `Status` stays the same.
        Self::new(UnsyncBoxBody::<Bytes, tonic::Status>::new(body))
    }
}

#[diagnostic::do_not_recommend]
impl<E: 'static> WrapBody for UnsyncBoxBody<Bytes, E> {
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = E> + Send + 'static,
    {
        Self::new(body)
    }
}

#[diagnostic::do_not_recommend]
impl<E: 'static> WrapBody for BoxBody<Bytes, E> {
    fn wrap<W>(body: W) -> Self
    where
        W: Body<Data = Bytes, Error = E> + Send + 'static,
    {
        Self::new(sync::SyncBody::new(body))
    }
}

/// A body that is `Sync` because nothing can be done with a shared reference to it.
mod sync {
    use std::{
        pin::Pin,
        sync::{Mutex, PoisonError},
        task::{Context, Poll},
    };

    use bytes::Bytes;
    use http_body::{Body, Frame, SizeHint};

    /// `Sync` whatever `W` is. The body is only reached through `get_mut`, so the mutex is never locked. `&self` methods
    /// read the fields beside it.
    pub(super) struct SyncBody<W> {
        // Boxed, because std can't project a pin into a mutex.
        body: Mutex<Pin<Box<W>>>,
        hint: SizeHint,
        ended: bool,
    }

    impl<W: Body> SyncBody<W> {
        pub(super) fn new(body: W) -> Self {
            let (hint, ended) = (body.size_hint(), body.is_end_stream());
            Self { body: Mutex::new(Box::pin(body)), hint, ended }
        }
    }

    impl<W: Body<Data = Bytes>> Body for SyncBody<W> {
        type Data = Bytes;
        type Error = W::Error;

        fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, W::Error>>> {
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
}
