//! Wrapping a body without changing its type.

use bytes::Bytes;
use http_body::Body;
use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

use super::SyncBody;

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
    note = "for `axum::body::Body` enable Backstop's feature `axum`, for `tonic::body::Body` the feature `tonic` on a server \
            and `tonic-transport` around a `Channel`",
    note = "for `hyper::body::Incoming`, enable Backstop's feature `hyper-util` and put `backstop::http_client(…)` \
            around the client; for other concrete bodies, map the body below the layer, for example to `backstop::ClientBody`",
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
        Self::new(SyncBody::new(body))
    }
}
